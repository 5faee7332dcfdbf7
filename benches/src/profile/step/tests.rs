use super::*;

/// Stacks of release builds on Debian 12, as `frames` tells them; those with a bdev in them are of SPDK 26.01.
const STACKS: &[(Step, &str)] = &[
    (
        Step::Rx,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::receive::receive;dpdk::queue::poll;dpdk::queue::fill;dpdk_shim_rx_burst;rte_eth_rx_burst;\
         [librte_net_memif]",
    ),
    (
        Step::Rx,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::receive::receive;dpdk::queue::poll;dpdk::queue::fill;dpdk_shim_rx_burst;rte_eth_rx_burst",
    ),
    (
        Step::Rx,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::receive::receive",
    ),
    (
        Step::Rx,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::receive::receive;dpdk::queue::poll;dpdk::queue::fill;dpdk_shim_rx_burst",
    ),
    (Step::Rx, "[cut];dpdk_shim_rx_burst;rte_eth_rx_burst;[librte_net_memif]"),
    (
        Step::Parse,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::receive::receive;datapath::receive::accept;aoe_target::request::is_for;\
         aoe_wire::ethernet::eq",
    ),
    (
        Step::Parse,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::receive::receive;datapath::receive::accept;aoe_target::request::parse",
    ),
    (
        Step::Parse,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::receive::receive;datapath::receive::accept;aoe_target::request::parse;ata::command::decode",
    ),
    (
        Step::Parse,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::receive::receive;datapath::receive::accept;aoe_target::request::contiguous_len",
    ),
    (
        Step::Admit,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::receive::receive;datapath::receive::accept;datapath::submit::admit",
    ),
    (
        Step::Admit,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::receive::receive;datapath::receive::accept",
    ),
    (
        Step::Admit,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::receive::receive;datapath::receive::accept;aoe_target::table::route",
    ),
    (
        Step::Admit,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::receive::receive;datapath::receive::accept;aoe_target::table::route;\
         aoe_target::table::chain;aoe_target::table::head",
    ),
    (
        Step::Admit,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::receive::receive;datapath::receive::accept;datapath::submit::admit;\
         aoe_target::admit::admit",
    ),
    (
        Step::Submit,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::receive::receive;datapath::receive::accept;datapath::submit::admit;spdk::channel::submit",
    ),
    (
        Step::Submit,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::receive::receive;datapath::receive::accept;datapath::submit::admit;spdk::channel::submit;\
         spdk::channel::start",
    ),
    (
        Step::Submit,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::receive::receive;datapath::receive::accept;datapath::submit::admit;spdk::channel::submit;\
         spdk::completion::cover",
    ),
    (
        Step::Complete,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::complete::complete;spdk::completion::advance",
    ),
    (
        Step::Complete,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::lcore::complete",
    ),
    (
        Step::Complete,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::complete::complete",
    ),
    (
        Step::Complete,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::complete::complete;spdk::completion::advance;spdk::rmw::advance",
    ),
    (
        Step::Reply,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::complete::complete;datapath::reply::send",
    ),
    (
        Step::Reply,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::complete::complete;datapath::reply::send;aoe_target::reply::emit;\
         aoe_target::reply::write_registers;aoe_wire::ata_args::clear_reserved",
    ),
    (
        Step::Reply,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::complete::complete;datapath::reply::send;aoe_target::reply::emit;\
         aoe_wire::header::turn_into_reply;aoe_wire::ethernet::turn_back",
    ),
    (
        Step::Reply,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::complete::complete;datapath::reply::send;aoe_target::reply::emit;\
         aoe_wire::header::turn_into_reply;aoe_wire::header::set_address",
    ),
    (
        Step::Reply,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::complete::complete;datapath::reply::send;datapath::lane::send;dpdk::queue::push",
    ),
    (
        Step::Tx,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::lcore::send;dpdk::queue::flush;[librte_net_memif]",
    ),
    (
        Step::Tx,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::lcore::send",
    ),
    (
        Step::Tx,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::lcore::send;dpdk::queue::flush;[librte_net_memif];[librte_net_memif]",
    ),
    (
        Step::Foresee,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::receive::receive;datapath::receive::serve_each;datapath::foresee::foresee_data;\
         datapath::foresee::ask;datapath::foresee::ask_for;dpdk::prefetch::prefetch_at;\
         core_arch::x86::sse::_mm_prefetch",
    ),
    (
        Step::Foresee,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::receive::receive;datapath::receive::serve_each;datapath::foresee::foresee_data;\
         aoe_target::request::foresee;aoe_wire::header::view",
    ),
    (Step::Turn, "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn"),
    (
        Step::Turn,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn",
    ),
    (
        Step::Reactor,
        "reactor_run;_reactor_run;spdk_thread_poll;spdk_get_ticks;rte_get_timer_cycles;rte_get_tsc_cycles;\
         rte_rdtsc",
    ),
    (Step::Reactor, "reactor_run;_reactor_run"),
    (Step::Reactor, "reactor_run;_reactor_run;spdk_thread_poll"),
    (Step::Reactor, "reactor_run;_reactor_run;spdk_thread_poll;thread_update_stats"),
    (Step::Reactor, "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;msg_queue_run_batch"),
    (Step::Reactor, "reactor_run;_reactor_run;spdk_thread_poll;thread_poll"),
    (
        Step::Linux,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::lcore::send;dpdk::queue::flush;dpdk_shim_tx_burst;rte_eth_tx_burst;[librte_net_af_packet];\
         __libc_sendto;entry_SYSCALL_64_after_hwframe_[k];do_syscall_64_[k];__x64_sys_sendto_[k];__sys_sendto_[k];\
         packet_sendmsg_[k];tpacket_snd_[k];packet_xmit_[k];__dev_direct_xmit_[k];__local_bh_enable_ip_[k];\
         do_softirq_[k];handle_softirqs_[k];net_rx_action_[k];__napi_poll_[k];process_backlog_[k];\
         __netif_receive_skb_core.constprop.0_[k];tpacket_rcv_[k]",
    ),
    (
        Step::Tx,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::lcore::send;dpdk::queue::flush;dpdk_shim_tx_burst;rte_eth_tx_burst;[librte_net_af_packet];\
         __memmove_avx_unaligned_erms",
    ),
    (
        Step::Bdev,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;thread_execute_poller;accel_comp_poll",
    ),
    (
        Step::Bdev,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;thread_execute_poller;malloc_completion_poller",
    ),
    (
        Step::Bdev,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;thread_execute_poller;accel_comp_poll;\
         bdev_io_complete;spdk_get_ticks;rte_get_timer_cycles;rte_get_tsc_cycles;rte_rdtsc",
    ),
    (
        Step::Bdev,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;thread_execute_poller;accel_comp_poll;\
         spdk_bdev_io_complete",
    ),
    (
        Step::Bdev,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;thread_execute_poller;spdk::thread::run_turn;\
         datapath::lcore::turn;datapath::receive::receive;datapath::receive::serve_each;\
         datapath::receive::accept;datapath::submit::admit;spdk::channel::submit;spdk::channel::start;\
         spdk_bdev_readv_blocks;bdev_readv_blocks_with_md;bdev_io_submit;spdk_get_ticks",
    ),
    (
        Step::Bdev,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;thread_execute_poller;spdk::thread::run_turn;\
         datapath::lcore::turn;datapath::receive::receive;datapath::receive::serve_each;\
         datapath::receive::accept;datapath::submit::admit;spdk::channel::submit;spdk::channel::start;\
         spdk_bdev_readv_blocks;bdev_readv_blocks_with_md;bdev_io_do_submit;bdev_submit_request;\
         bdev_malloc_submit_request;_bdev_malloc_submit_request;bdev_malloc_readv;spdk_accel_append_copy",
    ),
    (
        Step::Bdev,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;thread_execute_poller;spdk::thread::run_turn;\
         datapath::lcore::turn;datapath::receive::receive;datapath::receive::serve_each;\
         datapath::receive::accept;datapath::submit::admit;spdk::channel::submit;spdk::channel::start;\
         spdk_bdev_readv_blocks;bdev_readv_blocks_with_md;bdev_io_do_submit;bdev_submit_request;\
         bdev_malloc_submit_request;_bdev_malloc_submit_request;bdev_malloc_readv;spdk_accel_sequence_reverse",
    ),
    (
        Step::Bdev,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;thread_execute_poller;spdk::thread::run_turn;\
         datapath::lcore::turn;datapath::receive::receive;datapath::receive::serve_each;\
         datapath::receive::accept;datapath::submit::admit;spdk::channel::submit;spdk::channel::start;\
         spdk_bdev_readv_blocks;bdev_readv_blocks_with_md;bdev_io_do_submit;bdev_submit_request;\
         bdev_malloc_submit_request;_bdev_malloc_submit_request;bdev_malloc_readv;accel_process_sequence;\
         accel_submit_task;sw_accel_submit_tasks;_sw_accel_copy_iovs;spdk_ioviter_first",
    ),
    (
        Step::Copy,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;thread_execute_poller;spdk::thread::run_turn;\
         datapath::lcore::turn;datapath::receive::receive;datapath::receive::serve_each;\
         datapath::receive::accept;datapath::submit::admit;spdk::channel::submit;spdk::channel::start;\
         spdk_bdev_readv_blocks;bdev_readv_blocks_with_md;bdev_io_do_submit;bdev_submit_request;\
         bdev_malloc_submit_request;_bdev_malloc_submit_request;bdev_malloc_readv;accel_process_sequence;\
         accel_submit_task;sw_accel_submit_tasks;_sw_accel_copy_iovs;memcpy;__memmove_avx512_unaligned_erms",
    ),
    (
        Step::Complete,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;thread_execute_poller;accel_comp_poll;\
         spdk::channel::ended",
    ),
    (
        Step::Complete,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;thread_execute_poller;accel_comp_poll;\
         spdk::channel::ended;spdk::channel::finish;spdk::completion::push;spdk::completion::push",
    ),
    (Step::Reactor, "reactor_run;_reactor_run;reactor_post_process_lw_thread"),
    (
        Step::Reactor,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;msg_queue_run_batch;spdk_ring_dequeue;\
         rte_ring_dequeue_burst;rte_ring_dequeue_burst_elem",
    ),
    (
        Step::Turn,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;thread_execute_poller;spdk::thread::run_turn",
    ),
    (Step::Reactor, "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;thread_execute_poller"),
    // The bare responder's.
    (Step::Turn, "benches::bin::responder::serve"),
    (Step::Rx, "benches::bin::responder::serve;dpdk::queue::poll;dpdk::queue::fill;dpdk_shim_rx_burst"),
    (Step::Reply, "benches::bin::responder::serve;benches::bin::responder::answer;dpdk::mbuf::resize"),
    (
        Step::Copy,
        "benches::bin::responder::serve;benches::bin::responder::answer;benches::bin::responder::fill;\
         benches::store::read;__memmove_avx_unaligned_erms",
    ),
    (
        Step::Other,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;\
         kvblade_dpdk::target::with;kvblade_dpdk::target::keeper::collect",
    ),
    (
        Step::Other,
        "reactor_run;_reactor_run;spdk_thread_poll;thread_poll;spdk::thread::run_turn;datapath::lcore::turn;\
         datapath::lcore::send;dpdk::queue::flush;[librte_net_memif];asm_exc_page_fault_[k];\
         exc_page_fault_[k];lock_vma_under_rcu_[k];mas_walk_[k]",
    ),
];

#[test]
fn only_what_lies_between_the_first_and_the_last_request_is_under_load() {
    let stack = |step: Step| STACKS.iter().find(|(of, _)| *of == step).unwrap().1.to_owned();
    let [idle, copy, bdev, tx] = [Step::Reactor, Step::Copy, Step::Bdev, Step::Tx].map(stack);
    let all = [&idle, &copy, &tx, &idle, &bdev, &tx, &idle].map(String::clone);
    assert_eq!(under_load(&all), &all[1..5]);
    assert!(under_load(&[idle.clone(), tx]).is_empty());
}

#[test]
fn a_function_has_the_colour_of_its_own_step() {
    let cases = [
        ("[librte_net_memif]", Some(Step::Tx)),
        ("dpdk_shim_rx_burst", Some(Step::Rx)),
        ("spdk::thread::run_turn", Some(Step::Turn)),
        ("__memmove_avx_unaligned_erms", Some(Step::Copy)),
        ("tpacket_snd_[k]", Some(Step::Linux)),
        ("rte_rdtsc", None),
    ];
    for (function, step) in cases {
        assert_eq!(Step::of_function(function), step, "{function}");
    }
}

#[test]
fn each_stack_is_of_its_step() {
    for (step, stack) in STACKS {
        assert_eq!(Step::of(stack), *step, "{stack}");
    }
    let met: std::collections::BTreeSet<Step> = STACKS.iter().map(|(step, _)| *step).collect();
    assert_eq!(met, Step::ALL.into(), "each step has a stack here");
}
