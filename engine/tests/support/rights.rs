//! A thread without rights, for tests.

use std::panic::resume_unwind;
use std::thread;

/// Does `work` in a thread that gave up every right, in the network namespace of the calling one.
pub(crate) fn without<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            give_up_all();
            work()
        });
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn give_up_all() {
    const VERSION: u32 = 0x2008_0522;
    // `struct __user_cap_header_struct`: version, and the calling thread; then two times effective, permitted, inheritable.
    let header = [VERSION, 0];
    let none = [0_u32; 6];
    // SAFETY: the kernel reads both structures, which live through the call; the right to have fewer rights needs none.
    let answer = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    assert_eq!(answer, 0, "rights can always be given up");
}
