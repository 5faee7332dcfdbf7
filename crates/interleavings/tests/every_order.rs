//! Every order of two threads, of the code as it is and of the code with an ordering less.

use std::panic;

use interleavings::{Weakened, captured_frames, gate, group_commit, interrupt_pass};

fn is_found(model: fn(Weakened), weakened: Weakened) -> bool {
    panic::catch_unwind(|| model(weakened)).is_err()
}

#[test]
fn no_burst_runs_while_another_thread_changes_its_port() {
    gate(Weakened::Nothing);
}

#[test]
fn a_gate_without_one_of_its_orderings_is_found() {
    assert!(is_found(gate, Weakened::Fence));
    assert!(is_found(gate, Weakened::Release));
    assert!(is_found(gate, Weakened::Acquire));
}

#[test]
fn the_interrupt_thread_and_a_control_function_do_not_work_at_the_same_time() {
    interrupt_pass(Weakened::Nothing);
}

#[test]
fn an_interrupt_pass_without_one_of_its_orderings_is_found() {
    assert!(is_found(interrupt_pass, Weakened::Release));
    assert!(is_found(interrupt_pass, Weakened::Acquire));
}

#[test]
fn a_write_counts_as_synced_by_an_fdatasync_that_saw_it() {
    group_commit(Weakened::Nothing);
}

#[test]
fn a_group_commit_without_its_fences_is_found() {
    assert!(is_found(group_commit, Weakened::Fence));
}

#[test]
fn a_frame_is_taken_out_of_a_ring_whole_or_counted_as_dropped() {
    captured_frames(Weakened::Nothing);
}

#[test]
fn a_ring_without_one_of_its_orderings_is_found() {
    assert!(is_found(captured_frames, Weakened::Release));
    assert!(is_found(captured_frames, Weakened::Acquire));
}
