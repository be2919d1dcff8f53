// What the drivers share. A driver ends with 0 when every answer was right; a sanitizer ends it before.
#pragma once
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                         \
    do {                                                                                         \
        if (!(condition)) {                                                                      \
            fprintf(stderr, "%s:%d: not true: %s (errno %d)\n", __FILE__, __LINE__, #condition,  \
                    errno);                                                                      \
            exit(1);                                                                             \
        }                                                                                        \
    } while (0)

/// A copy that ends where its memory ends, so that a read behind it is found.
static inline char *exact(const char *text, size_t size) {
    char *copy = malloc(size);
    CHECK(copy != NULL);
    for (size_t i = 0; i < size; i++) copy[i] = text[i];
    return copy;
}
