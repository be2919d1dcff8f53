// Makes libseccomp's program for the rules on standard input (seccomp-benchmark --rules), with its
// tree optimisation, on standard output. cc -o libseccomp libseccomp.c -lseccomp
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_THREAD);
  seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
  seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0);
  char line[4096];
  while (fgets(line, sizeof line, stdin)) {
    struct scmp_arg_cmp atoms[6];
    unsigned count = 0;
    int number = atoi(strtok(line, " \n"));
    for (char *word; (word = strtok(NULL, " \n")) && count < 6; count++) {
      char *operation = strtok(NULL, " \n");
      unsigned long long value = strtoull(strtok(NULL, " \n"), NULL, 10);
      unsigned argument = atoi(word);
      if (!strcmp(operation, "==")) atoms[count] = SCMP_CMP64(argument, SCMP_CMP_EQ, value);
      else if (!strcmp(operation, "!=")) atoms[count] = SCMP_CMP64(argument, SCMP_CMP_NE, value);
      else if (!strcmp(operation, "in"))
        atoms[count] = SCMP_CMP64(argument, SCMP_CMP_MASKED_EQ, ~value, 0);
      else if (!strcmp(operation, "&") && !(value & (value - 1)))
        atoms[count] = SCMP_CMP64(argument, SCMP_CMP_MASKED_EQ, value, value);
      else return fprintf(stderr, "not for libseccomp: %s\n", operation), 1;
    }
    int code = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, count, atoms);
    if (code) fprintf(stderr, "%d: %s\n", number, strerror(-code));
  }
  return seccomp_export_bpf(filter, 1) ? 1 : 0;
}
