//! The things of one thread that each of its polls looks after.

use std::{
    cell::{Cell, RefCell},
    ptr::NonNull,
};

/// The members that have something to do in each poll, of all that there are. None allocates when it joins.
#[derive(Debug)]
pub(super) struct Listed<T> {
    list: RefCell<Vec<NonNull<T>>>,
    /// Those that may join.
    members: Cell<usize>,
}

impl<T> Listed<T> {
    pub(super) fn new() -> Self {
        Self { list: RefCell::default(), members: Cell::new(0) }
    }

    /// Makes room for one more. Allocates.
    pub(super) fn reserve(&self) {
        self.members.set(self.members.get() + 1);
        let mut list = self.list.borrow_mut();
        let missing = self.members.get().saturating_sub(list.len());
        list.reserve(missing);
    }

    /// Puts a member on the list, on which it is not.
    #[inline]
    pub(super) fn push(&self, member: NonNull<T>) {
        self.list.borrow_mut().push(member);
    }

    /// Takes a member that goes away off the list, on which it may be, and gives its room up.
    pub(super) fn remove(&self, member: NonNull<T>) {
        self.members.set(self.members.get() - 1);
        self.list.borrow_mut().retain(|listed| *listed != member);
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.list.borrow().is_empty()
    }

    /// Calls `look` with each, which may put others on the list. Those of which it says false leave it.
    #[inline]
    pub(super) fn each(&self, mut look: impl FnMut(NonNull<T>) -> bool) {
        let mut index = 0;
        loop {
            let next = self.list.borrow().get(index).copied();
            let Some(member) = next else { break };
            if look(member) {
                index += 1;
            } else {
                self.list.borrow_mut().swap_remove(index);
            }
        }
    }

    /// Has [`Listed::each`] begin with the next one.
    pub(super) fn rotate(&self) {
        let mut list = self.list.borrow_mut();
        if !list.is_empty() {
            list.rotate_left(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_join_while_others_are_looked_at_and_leave() {
        let numbers = [1, 2, 3, 4];
        let listed = Listed::new();
        numbers.iter().for_each(|_| listed.reserve());
        let place = |index: usize| NonNull::from(&numbers[index]);
        (0..3).for_each(|index| listed.push(place(index)));
        let mut seen = Vec::new();
        listed.each(|member| {
            if seen.is_empty() {
                listed.push(place(3));
            }
            seen.push(member);
            member != place(1)
        });
        assert_eq!(
            seen,
            [place(0), place(1), place(3), place(2)],
            "the last one takes the place of who leaves"
        );
        listed.remove(place(0));
        listed.rotate();
        seen.clear();
        listed.each(|member| {
            seen.push(member);
            false
        });
        assert_eq!(seen, [place(2), place(3)]);
        assert!(listed.is_empty());
    }
}
