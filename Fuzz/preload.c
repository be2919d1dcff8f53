// The orders and the filter that the preload library gets. Each input is carried out in a child: the
// orders close descriptors and restrict the process. Before the first zero byte stand the orders,
// behind it is the file of the filter.
#define __libc_start_main preload_start_main
#include "../Sources/minijailpreload/minijailpreload.c"
#undef __libc_start_main
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { REPORT = 7, FILTER = 8 };

const char *__asan_default_options(void) { return "abort_on_error=1"; }
const char *__ubsan_default_options(void) { return "abort_on_error=1"; }

static _Noreturn void carry_out(const char *orders, const uint8_t *filter, size_t size, int report) {
    int file = memfd_create("filter", 0);
    if (file < 0 || write(file, filter, size) != (ssize_t)size) _exit(0);
    if (dup2(report, REPORT) < 0 || dup2(file, FILTER) < 0) _exit(0);
    setenv("__MINIJAIL_FD", orders, 1);
    setenv("LD_PRELOAD", orders, 1);
    finish_jail();
    _exit(0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = memchr(data, 0, size);
    size_t length = end == NULL ? size : (size_t)(end - data);
    char *orders = strndup((const char *)data, length);
    size_t rest = end == NULL ? 0 : size - length - 1;
    int report[2];
    // What the machine has no room for is no finding.
    if (orders == NULL || pipe(report) != 0) return free(orders), -1;
    pid_t child = fork();
    if (child == 0) carry_out(orders, data + size - rest, rest, report[1]);
    bool has_filter = strchr(orders, 'f') != NULL;
    free(orders);
    close(report[1]);
    int status = 0;
    // libFuzzer's timer interrupts.
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    close(report[0]);
    if (child < 0) return -1;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) abort();  // a sanitizer's report
    // Behind a filter of its own the child can end in any way.
    if (has_filter) return 0;
    if (WIFSIGNALED(status)) abort();
    if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != STATUS_NO_JAIL) abort();
    return 0;
}
