// ptrace(2) of one machine's registers. No decisions.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// Whether registers and breakpoints of this architecture are known here.
int linux_can_trace(void);

/// PTRACE_SEIZE with PTRACE_O_EXITKILL, and stops at execve(2), at new processes and threads, and at
/// system calls when asked for.
int linux_trace_seize(pid_t process);
int linux_trace_interrupt(pid_t thread);
/// PTRACE_CONT, with a signal to deliver or 0.
int linux_trace_resume(pid_t thread, int signal);
/// PTRACE_SYSCALL: to the beginning or the end of the next system call.
int linux_trace_resume_to_call(pid_t thread);
/// PTRACE_LISTEN: a thread in a group-stop stays there until SIGCONT.
int linux_trace_listen(pid_t thread);
int linux_trace_detach(pid_t thread, int signal);
/// PTRACE_GETEVENTMSG.
int linux_trace_message(pid_t thread, uint64_t *_Nonnull out);
/// waitpid(2) with __WALL, WNOHANG and __WNOTHREAD: a child or tracee of the calling thread with
/// its wait status, or 0 when nothing has happened. -1 and ECHILD when the thread has neither.
pid_t linux_trace_wait(int *_Nonnull status);

/// One word of a thread's memory. A whole number of them is at an address that is a multiple of 8.
int linux_trace_peek(pid_t thread, uint64_t address, uint64_t *_Nonnull out);
int linux_trace_poke(pid_t thread, uint64_t address, uint64_t word);

/// The general registers, as PTRACE_GETREGSET has them.
struct linux_registers {
    uint64_t words[40];
};
/// EPERM for a thread that runs code of another architecture (32 bits).
int linux_trace_registers(pid_t thread, struct linux_registers *_Nonnull out);
/// Not at the beginning of a system call, which would not be made.
int linux_trace_set_registers(pid_t thread, const struct linux_registers *_Nonnull registers);
uint64_t linux_registers_instruction(const struct linux_registers *_Nonnull registers);
uint64_t linux_registers_stack(const struct linux_registers *_Nonnull registers);
/// Makes the next instruction, which is the one for system calls, make this call.
void linux_registers_make_call(struct linux_registers *_Nonnull registers, uint64_t instruction,
                               uint64_t number, const uint64_t arguments[_Nonnull 6]);
/// What the kernel would do before it goes on with a system call that a stop has interrupted.
void linux_registers_restart_call(struct linux_registers *_Nonnull registers);
/// The instruction for system calls in the low bytes of `word`; the others stay.
uint64_t linux_with_call_instruction(uint64_t word);
extern const uint64_t linux_call_instruction_size;
/// AUDIT_ARCH_… of this program.
extern const uint32_t linux_native_architecture;

/// A breakpoint of the processor at an instruction; 0 takes it away.
int linux_trace_break(pid_t thread, uint64_t address);

/// PTRACE_SETSIGMASK: blocks all that can be blocked, and says what was blocked.
int linux_trace_block_signals(pid_t thread, uint64_t *_Nonnull old);
int linux_trace_set_signals(pid_t thread, uint64_t mask);

/// PTRACE_GET_SYSCALL_INFO, Linux 5.3.
struct linux_traced_call {
    /// 1 at the beginning of a call, 2 at its end, 0 elsewhere.
    int place;
    /// AUDIT_ARCH_… of the way that the call was made.
    uint32_t architecture;
    /// Behind the instruction that made it.
    uint64_t instruction;
    uint64_t number;
    uint64_t arguments[6];
    int64_t result;  // or minus the error
};
int linux_trace_call(pid_t thread, struct linux_traced_call *_Nonnull out);

/// Where the thread's rseq(2) area names its critical section; 0 without one, and before Linux 5.13.
int linux_trace_sequence(pid_t thread, uint64_t *_Nonnull out);

/// tgkill(2) with signal 0: 1 when the thread belongs to the process, else 0.
int linux_is_thread_of(pid_t process, pid_t thread);
/// tgkill(2).
int linux_signal_thread(pid_t process, pid_t thread, int signal);

// Numbers of system calls, which are made in another process.
extern const long linux_call_mmap, linux_call_mprotect, linux_call_prctl, linux_call_seccomp, linux_call_close,
    linux_call_socketpair, linux_call_recvmsg, linux_call_landlock_restrict_self, linux_call_execve,
    linux_call_writev, linux_call_exit, linux_call_exit_group;
