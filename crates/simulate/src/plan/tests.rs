use std::collections::BTreeSet;

use super::*;

#[test]
fn a_seed_has_one_plan_and_requests_lie_within_their_exports() {
    for seed in 0..200 {
        let plan = generate::plan(seed, &BTreeSet::new());
        assert_eq!(format!("{plan:?}"), format!("{:?}", generate::plan(seed, &BTreeSet::new())));
        assert!(plan.ops.len() >= 60);
        for op in &plan.ops {
            assert!(op.ranges().all(|(first, sectors)| first + sectors <= SECTORS), "{op:?}");
            assert!(op.export < plan.exports.len());
        }
        assert!(plan.ops.is_sorted_by_key(|op| op.at));
    }
}

#[test]
fn every_fault_is_in_some_plans_and_can_be_left_out() {
    let is_there = |plan: &Plan, part: Part| {
        let disks = |is: fn(&DiskPlan) -> bool| plan.exports.iter().any(|export| is(&export.disk));
        let happens = |is: fn(&Event) -> bool| plan.events.iter().any(|(_, _, event)| is(event));
        let asks = |is: fn(&Operation) -> bool| plan.ops.iter().any(|op| is(&op.operation));
        match part {
            Part::Overlap => plan.overlap && plan.lcores == 1,
            Part::OverlapAcross => plan.overlap && plan.lcores > 1,
            Part::Hang => disks(|disk| disk.hang > 0),
            Part::Deadline => plan.exports.iter().any(|export| export.io_timeout < 60),
            Part::Loss => plan.link.loss > 0,
            Part::Duplicate => plan.link.duplicate > 0,
            Part::Reorder => plan.link.reorders,
            Part::Truncate => plan.link.truncate > 0,
            Part::NoMemory => disks(|disk| disk.no_memory > 0),
            Part::Fail => disks(|disk| disk.fail > 0),
            Part::FailOneLcore => disks(|disk| disk.fails_on.is_some()),
            Part::NoChannel => disks(|disk| disk.no_channel > 0),
            Part::Stall => plan.stall > 0,
            Part::Distribute => plan.distribute,
            Part::Ports => plan.ports,
            Part::Trim => asks(|operation| matches!(operation, Operation::Trim { .. })),
            Part::Vlan => plan.exports.iter().any(|export| export.vlan.is_some()),
            Part::Wildcard => !plan.questions.is_empty(),
            Part::Fence => asks(|operation| matches!(operation, Operation::Reserve { .. })),
            Part::Delete => happens(|event| matches!(event, Event::Delete { .. })),
            Part::Force => happens(|event| *event == Event::Force),
            Part::Remove => happens(|event| matches!(event, Event::Remove { .. })),
            Part::Shrink => happens(|event| *event == Event::Shrink),
            Part::Replace => happens(|event| matches!(event, Event::Replace { .. })),
            Part::State => asks(|operation| matches!(operation, Operation::Config | Operation::Mask)),
            Part::Calls => !plan.calls.is_empty(),
            Part::GroupCommit => disks(|disk| disk.cache == Cache::Group),
            Part::LargeBlocks => disks(|disk| disk.sectors_per_block > 1),
        }
    };
    for part in Part::ALL {
        assert_eq!(part.name().parse(), Ok(part));
        let seeds = |without: &BTreeSet<Part>| {
            (0..100).filter(|seed| is_there(&generate::plan(*seed, without), part)).count()
        };
        assert!(seeds(&BTreeSet::new()) > 5, "{part:?}");
        assert_eq!(seeds(&BTreeSet::from([part])), 0, "{part:?}");
    }
}
