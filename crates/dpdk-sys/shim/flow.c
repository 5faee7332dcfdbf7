#include "flow.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_ethdev.h>
#include <rte_flow.h>

/* A rule with everything that it points to. */
struct rule {
	struct rte_flow_attr attr;
	struct rte_flow_item_eth spec;
	struct rte_flow_item_eth mask;
	struct rte_flow_item pattern[2];
	struct rte_flow_action_rss rss;
	struct rte_flow_action_queue queue;
	struct rte_flow_action actions[2];
};

static void build(const struct dpdk_shim_flow *flow, struct rule *rule)
{
	memset(rule, 0, sizeof(*rule));
	rule->attr.ingress = 1;
	rule->pattern[0].type = RTE_FLOW_ITEM_TYPE_ETH;
	rule->pattern[1].type = RTE_FLOW_ITEM_TYPE_END;
	if (flow->ethertype != 0) {
		rule->spec.type = rte_cpu_to_be_16(flow->ethertype);
		rule->mask.type = 0xffff;
	}
	if (flow->to_destination) {
		memcpy(rule->spec.dst.addr_bytes, flow->destination, sizeof(flow->destination));
		memset(rule->mask.dst.addr_bytes, 0xff, sizeof(flow->destination));
	}
	if (flow->ethertype != 0 || flow->to_destination) {
		rule->pattern[0].spec = &rule->spec;
		rule->pattern[0].mask = &rule->mask;
	}
	if (flow->action == DPDK_SHIM_FLOW_HASH) {
		rule->rss.func = RTE_ETH_HASH_FUNCTION_DEFAULT;
		rule->rss.types = RTE_ETH_RSS_ETH;
		/* ice looks at the pointer, i40e at the number. */
		rule->rss.queue = flow->queue_count > 0 ? flow->queues : NULL;
		rule->rss.queue_num = flow->queue_count;
		rule->actions[0].type = RTE_FLOW_ACTION_TYPE_RSS;
		rule->actions[0].conf = &rule->rss;
	} else {
		rule->queue.index = flow->queues[0];
		rule->actions[0].type = RTE_FLOW_ACTION_TYPE_QUEUE;
		rule->actions[0].conf = &rule->queue;
	}
	rule->actions[1].type = RTE_FLOW_ACTION_TYPE_END;
}

int dpdk_shim_flow(uint16_t port, const struct dpdk_shim_flow *flow, bool create, char *reason, size_t size)
{
	struct rte_flow_error error = {};
	struct rule rule;
	int rc;

	build(flow, &rule);
	reason[0] = '\0';
	rc = rte_flow_validate(port, &rule.attr, rule.pattern, rule.actions, &error);
	if (rc == 0 && create && rte_flow_create(port, &rule.attr, rule.pattern, rule.actions, &error) == NULL)
		rc = rte_errno != 0 ? -rte_errno : -EIO;
	if (rc != 0 && error.message != NULL)
		snprintf(reason, size, "%s", error.message);
	return rc;
}

struct text {
	char *start;
	size_t size;
	size_t length;
};

__attribute__((format(printf, 2, 3))) static void say(struct text *text, const char *format, ...)
{
	va_list arguments;
	int more;

	va_start(arguments, format);
	more = vsnprintf(text->start + text->length, text->size - text->length, format, arguments);
	va_end(arguments);
	if (more > 0)
		text->length = RTE_MIN(text->length + (size_t)more, text->size - 1);
}

size_t dpdk_shim_flow_describe(const struct dpdk_shim_flow *flow, char *start, size_t size)
{
	struct text text = {.start = start, .size = size};
	const struct rte_flow_item *item;
	const struct rte_flow_action *action;
	struct rule rule;

	build(flow, &rule);
	say(&text, "%spattern", rule.attr.ingress ? "ingress " : "");
	for (item = rule.pattern; item->type == RTE_FLOW_ITEM_TYPE_ETH; item++) {
		const struct rte_flow_item_eth *spec = item->spec, *mask = item->mask;
		static const uint8_t whole[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

		say(&text, " eth");
		if (mask != NULL && memcmp(mask->dst.addr_bytes, whole, sizeof(whole)) == 0) {
			const uint8_t *mac = spec->dst.addr_bytes;

			say(&text, " dst is %02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
			    mac[5]);
		}
		if (mask != NULL && mask->type == 0xffff)
			say(&text, " type is 0x%04x", rte_be_to_cpu_16(spec->type));
		say(&text, " /");
	}
	say(&text, " %s actions", item->type == RTE_FLOW_ITEM_TYPE_END ? "end" : "?");
	for (action = rule.actions; action->type != RTE_FLOW_ACTION_TYPE_END; action++) {
		if (action->type == RTE_FLOW_ACTION_TYPE_RSS) {
			const struct rte_flow_action_rss *rss = action->conf;
			uint32_t i;

			say(&text, " rss types%s end queues", rss->types == RTE_ETH_RSS_ETH ? " eth" : " ?");
			for (i = 0; i < rss->queue_num; i++)
				say(&text, " %u", rss->queue[i]);
			say(&text, " end /");
		} else {
			const struct rte_flow_action_queue *queue = action->conf;

			say(&text, " queue index %u /", queue->index);
		}
	}
	say(&text, " end");
	return text.length;
}
