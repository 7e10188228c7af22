/* What is executed in place of a program: the wrapper, told of the program, and the environment that both get. */
#ifndef EXECNODE_INTERCEPT_IMAGE_H
#define EXECNODE_INTERCEPT_IMAGE_H

#include <stdbool.h>
#include <stddef.h>

struct image {
    const char *path;
    char **argv;
    char **env;
};

/* Remember at load time what children need, for the program may clear its environment.  Without the variables, or in
 * the wrapper itself, nothing is ever intercepted. */
void image_prepare(void);

/* Whether programs are intercepted in this process. */
bool image_wanted(void);

/* Whether `file` is the wrapper, which asks by itself. */
bool image_is_wrapper(const char *file);

/* Whether an entry of an environment is one that image_fill() adds or replaces. */
bool image_is_variable(const char *entry);

/* How many bytes image_fill() needs: callers have them on their stack, since a vfork child must not allocate. */
size_t image_room(char *const argv[], char *const env[]);

/* Describe the execution of the wrapper for `file`.  `room` is aligned for pointers and outlives `image`, as do the
 * arguments. */
void image_fill(struct image *image, void *room, const char *file, char *const argv[], char *const env[]);

#endif
