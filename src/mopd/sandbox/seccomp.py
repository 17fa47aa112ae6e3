"""The system calls that no program in a sandbox may make, as a filter for the kernel.

The namespaces already take away the network, other processes and files. The filter closes what they leave open: kernel
interfaces with a history of holes, sockets of any kind, memory that resource limits do not count, and ways to touch
another process of the same user.
"""

from __future__ import annotations

import functools
import tempfile

_NETWORK = ("socket", "socketcall")
_PROCESSES = ("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "pidfd_open", "kcmp", "process_madvise")
_NAMESPACES = ("unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen")
_MORE_MOUNTS = ("fsconfig", "fsmount", "fspick", "mount_setattr", "open_by_handle_at", "name_to_handle_at")
_UNCOUNTED_MEMORY = (
    "memfd_create",
    "memfd_secret",
    "shmget",
    "shmat",
    "msgget",
    "semget",
    "mq_open",
    "vmsplice",
    "mlock",
)
_KERNEL = ("bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "syslog", "kexec_load")
_IO_URING = ("io_uring_setup", "io_uring_enter", "io_uring_register", "io_setup")
_MACHINE = ("init_module", "finit_module", "delete_module", "reboot", "swapon", "swapoff", "acct", "quotactl")
_WATCHES = ("inotify_init", "inotify_init1", "fanotify_init")
_OTHERS = ("personality", "settimeofday", "clock_settime", "adjtimex", "iopl", "ioperm", "modify_ldt", "lookup_dcookie")

DENIED = (
    *(*_NETWORK, *_PROCESSES, *_NAMESPACES, *_MORE_MOUNTS, *_UNCOUNTED_MEMORY),
    *(*_KERNEL, *_IO_URING, *_MACHINE, *_WATCHES, *_OTHERS),
)
"""These fail with EPERM, as if the user had no right to them."""


@functools.cache
def compiled() -> bytes:
    """The filter as the program for the kernel that `bwrap --seccomp` reads.

    Raises OSError or ImportError where libseccomp is not there.
    """
    import errno

    import pyseccomp

    made = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    refused = pyseccomp.ERRNO(errno.EPERM)
    for name in DENIED:
        try:
            made.add_rule(refused, name)
        except (OSError, ValueError):  # a call that this machine's processor or libseccomp does not have
            continue
    # glibc falls back to clone, whose flags can be read by a filter, where clone3 is not there
    made.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    made.add_rule(refused, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, 0x10000000, 0x10000000))  # CLONE_NEWUSER
    # limits of another process, this one's being 0
    made.add_rule(refused, "prlimit64", pyseccomp.Arg(0, pyseccomp.NE, 0))
    with tempfile.TemporaryFile() as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()
