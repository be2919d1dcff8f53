#define _GNU_SOURCE
#include "tracing.h"

#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

// <sys/ptrace.h> and <linux/ptrace.h> exclude each other. The call itself, since libc's wrapper
// returns what was read.
static long trace(long request, pid_t thread, unsigned long address, unsigned long data) {
    return syscall(SYS_ptrace, request, thread, address, data);
}

enum {
    TRACE_CONT = 7,
    TRACE_DETACH = 17,
    TRACE_SYSCALL = 24,
    OPTION_SYSCALLS = 1,
    OPTION_FORK = 2,
    OPTION_VFORK = 4,
    OPTION_CLONE = 8,
    OPTION_EXEC = 16,
    OPTION_EXITKILL = 1 << 20,
};

int linux_trace_seize(pid_t process) {
    unsigned long options = OPTION_SYSCALLS | OPTION_FORK | OPTION_VFORK | OPTION_CLONE |
                            OPTION_EXEC | OPTION_EXITKILL;
    return (int)trace(PTRACE_SEIZE, process, 0, options);
}

int linux_trace_interrupt(pid_t thread) { return (int)trace(PTRACE_INTERRUPT, thread, 0, 0); }

int linux_trace_resume(pid_t thread, int signal) {
    return (int)trace(TRACE_CONT, thread, 0, (unsigned long)signal);
}

int linux_trace_resume_to_call(pid_t thread) { return (int)trace(TRACE_SYSCALL, thread, 0, 0); }

int linux_trace_listen(pid_t thread) { return (int)trace(PTRACE_LISTEN, thread, 0, 0); }

int linux_trace_detach(pid_t thread, int signal) {
    return (int)trace(TRACE_DETACH, thread, 0, (unsigned long)signal);
}

int linux_trace_message(pid_t thread, uint64_t *out) {
    unsigned long message;
    if (trace(PTRACE_GETEVENTMSG, thread, 0, (unsigned long)&message) != 0) return -1;
    *out = message;
    return 0;
}

pid_t linux_trace_wait(int *status) {
    return waitpid(-1, status, __WALL | __WNOTHREAD | WNOHANG);
}

int linux_trace_peek(pid_t thread, uint64_t address, uint64_t *out) {
    unsigned long word;
    if (trace(PTRACE_PEEKDATA, thread, address, (unsigned long)&word) != 0) return -1;
    *out = word;
    return 0;
}

int linux_trace_poke(pid_t thread, uint64_t address, uint64_t word) {
    return (int)trace(PTRACE_POKEDATA, thread, address, word);
}

int linux_trace_block_signals(pid_t thread, uint64_t *old) {
    uint64_t all = UINT64_MAX;
    if (trace(PTRACE_GETSIGMASK, thread, sizeof *old, (unsigned long)old) != 0) return -1;
    return (int)trace(PTRACE_SETSIGMASK, thread, sizeof all, (unsigned long)&all);
}

int linux_trace_set_signals(pid_t thread, uint64_t mask) {
    return (int)trace(PTRACE_SETSIGMASK, thread, sizeof mask, (unsigned long)&mask);
}

int linux_trace_call(pid_t thread, struct linux_traced_call *out) {
    struct ptrace_syscall_info info;
    memset(&info, 0, sizeof info);
    if (trace(PTRACE_GET_SYSCALL_INFO, thread, sizeof info, (unsigned long)&info) < 0) return -1;
    memset(out, 0, sizeof *out);
    out->architecture = info.arch;
    out->instruction = info.instruction_pointer;
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
        out->place = 1;
        out->number = info.entry.nr;
        for (int i = 0; i < 6; i++) out->arguments[i] = info.entry.args[i];
    } else if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
        out->place = 2;
        out->result = info.exit.rval;
    }
    return 0;
}

int linux_trace_sequence(pid_t thread, uint64_t *out) {
    // struct ptrace_rseq_configuration of <linux/ptrace.h>, Linux 5.13.
    enum { GET_RSEQ_CONFIGURATION = 0x420f, CRITICAL_SECTION = 8 };
    struct {
        uint64_t address;
        uint32_t size, signature, flags, padding;
    } sequence = {0};
    *out = 0;
    if (trace(GET_RSEQ_CONFIGURATION, thread, sizeof sequence, (unsigned long)&sequence) < 0) {
        return errno == EIO || errno == EINVAL ? 0 : -1;
    }
    if (sequence.address != 0) *out = sequence.address + CRITICAL_SECTION;
    return 0;
}

int linux_is_thread_of(pid_t process, pid_t thread) {
    return syscall(SYS_tgkill, process, thread, 0) == 0 || errno == EPERM;
}

int linux_signal_thread(pid_t process, pid_t thread, int signal) {
    return (int)syscall(SYS_tgkill, process, thread, signal);
}

#if defined(__x86_64__) || defined(__aarch64__)

static int registers(long request, pid_t thread, struct linux_registers *values, size_t size) {
    struct iovec part = {values, size};
    if (trace(request, thread, NT_PRSTATUS, (unsigned long)&part) != 0) return -1;
    if (part.iov_len == size) return 0;
    errno = EPERM;
    return -1;
}

#endif

#if defined(__x86_64__)

typedef struct user_regs_struct machine_registers __attribute__((may_alias));
_Static_assert(sizeof(machine_registers) <= sizeof(struct linux_registers), "");

int linux_can_trace(void) { return 1; }

uint64_t linux_registers_instruction(const struct linux_registers *registers) {
    return ((const machine_registers *)registers)->rip;
}

uint64_t linux_registers_stack(const struct linux_registers *registers) {
    return ((const machine_registers *)registers)->rsp;
}

void linux_registers_make_call(struct linux_registers *registers, uint64_t instruction,
                               uint64_t number, const uint64_t arguments[6]) {
    machine_registers *values = (machine_registers *)registers;
    values->rip = instruction;
    values->rax = number;
    values->orig_rax = UINT64_MAX;  // no call that the kernel would restart
    values->rdi = arguments[0];
    values->rsi = arguments[1];
    values->rdx = arguments[2];
    values->r10 = arguments[3];
    values->r8 = arguments[4];
    values->r9 = arguments[5];
}

void linux_registers_restart_call(struct linux_registers *registers) {
    enum { RESTART = 512, RESTART_ALWAYS = 513, RESTART_IF_NO_HANDLER = 514, RESTART_BLOCK = 516 };
    machine_registers *values = (machine_registers *)registers;
    if ((int64_t)values->orig_rax < 0) return;
    switch (-(int64_t)values->rax) {
    case RESTART:
    case RESTART_ALWAYS:
    case RESTART_IF_NO_HANDLER:
        values->rax = values->orig_rax;
        values->rip -= 2;
        break;
    // restart_syscall(2) may be denied by now; what sleeps says how much time is left.
    case RESTART_BLOCK: values->rax = (uint64_t)-EINTR; break;
    default: return;
    }
    values->orig_rax = UINT64_MAX;
}

uint64_t linux_with_call_instruction(uint64_t word) {
    return (word & ~(uint64_t)0xffff) | 0x050f;  // syscall
}

const uint64_t linux_call_instruction_size = 2;
const uint32_t linux_native_architecture = AUDIT_ARCH_X86_64;

int linux_trace_break(pid_t thread, uint64_t address) {
    enum { POKE_USER = 6, ENABLED = 1 };  // DR7: execution, one byte, of this thread alone
    unsigned long control = offsetof(struct user, u_debugreg[7]);
    if (address == 0) return (int)trace(POKE_USER, thread, control, 0);
    unsigned long place = offsetof(struct user, u_debugreg[0]);
    if (trace(POKE_USER, thread, place, address) != 0) return -1;
    return (int)trace(POKE_USER, thread, control, ENABLED);
}

#elif defined(__aarch64__)

typedef struct user_regs_struct machine_registers __attribute__((may_alias));
_Static_assert(sizeof(machine_registers) <= sizeof(struct linux_registers), "");

int linux_can_trace(void) { return 1; }

uint64_t linux_registers_instruction(const struct linux_registers *registers) {
    return ((const machine_registers *)registers)->pc;
}

uint64_t linux_registers_stack(const struct linux_registers *registers) {
    return ((const machine_registers *)registers)->sp;
}

void linux_registers_make_call(struct linux_registers *registers, uint64_t instruction,
                               uint64_t number, const uint64_t arguments[6]) {
    machine_registers *values = (machine_registers *)registers;
    values->pc = instruction;
    // As if it had not been branched to: the instruction is no landing pad (BTI).
    values->pstate &= ~(uint64_t)0xc00;
    values->regs[8] = number;
    for (int i = 0; i < 6; i++) values->regs[i] = arguments[i];
}

/// This kernel does it before the thread stops, and what sleeps sleeps its whole time again.
void linux_registers_restart_call(struct linux_registers *registers) { (void)registers; }

uint64_t linux_with_call_instruction(uint64_t word) {
    return (word & ~(uint64_t)0xffffffff) | 0xd4000001;  // svc #0
}

const uint64_t linux_call_instruction_size = 4;
const uint32_t linux_native_architecture = AUDIT_ARCH_AARCH64;

int linux_trace_break(pid_t thread, uint64_t address) {
    // <asm/ptrace.h>, struct user_hwdebug_state, up to the first breakpoint.
    struct {
        uint32_t information, padding;
        uint64_t address;
        uint32_t control, padding2;
    } state = {.address = address, .control = address == 0 ? 0 : 0x1e5};  // 4 bytes, EL0, enabled
    struct iovec part = {&state, sizeof state};
    return (int)trace(PTRACE_SETREGSET, thread, NT_ARM_HW_BREAK, (unsigned long)&part);
}

#else

int linux_can_trace(void) { return 0; }
uint64_t linux_registers_instruction(const struct linux_registers *registers) {
    (void)registers;
    return 0;
}
uint64_t linux_registers_stack(const struct linux_registers *registers) {
    (void)registers;
    return 0;
}
void linux_registers_make_call(struct linux_registers *registers, uint64_t instruction,
                               uint64_t number, const uint64_t arguments[6]) {
    (void)registers, (void)instruction, (void)number, (void)arguments;
}
void linux_registers_restart_call(struct linux_registers *registers) { (void)registers; }
uint64_t linux_with_call_instruction(uint64_t word) { return word; }
const uint64_t linux_call_instruction_size = 0;
const uint32_t linux_native_architecture = 0;
int linux_trace_break(pid_t thread, uint64_t address) {
    (void)thread, (void)address;
    errno = ENOSYS;
    return -1;
}

#endif

int linux_trace_registers(pid_t thread, struct linux_registers *out) {
#if defined(__x86_64__) || defined(__aarch64__)
    memset(out, 0, sizeof *out);
    return registers(PTRACE_GETREGSET, thread, out, sizeof(machine_registers));
#else
    (void)thread, (void)out;
    errno = ENOSYS;
    return -1;
#endif
}

int linux_trace_set_registers(pid_t thread, const struct linux_registers *values) {
#if defined(__x86_64__) || defined(__aarch64__)
    struct linux_registers copy = *values;
    if (registers(PTRACE_SETREGSET, thread, &copy, sizeof(machine_registers)) != 0) return -1;
#ifdef __aarch64__
    // As orig_rax of x86-64: at the end of a call, none is left that the kernel would restart.
    int none = -1;
    struct iovec part = {&none, sizeof none};
    if (trace(PTRACE_SETREGSET, thread, NT_ARM_SYSTEM_CALL, (unsigned long)&part) != 0) return -1;
#endif
    return 0;
#else
    (void)thread, (void)values;
    errno = ENOSYS;
    return -1;
#endif
}

const long linux_call_mmap =
#ifdef SYS_mmap
    SYS_mmap;
#else
    SYS_mmap2;
#endif
const long linux_call_mprotect = SYS_mprotect;
const long linux_call_prctl = SYS_prctl;
const long linux_call_execve = SYS_execve;
const long linux_call_writev = SYS_writev;
const long linux_call_exit = SYS_exit;
const long linux_call_exit_group = SYS_exit_group;
const long linux_call_seccomp = SYS_seccomp;
const long linux_call_close = SYS_close;
const long linux_call_socketpair = SYS_socketpair;
const long linux_call_recvmsg = SYS_recvmsg;
const long linux_call_landlock_restrict_self = SYS_landlock_restrict_self;
