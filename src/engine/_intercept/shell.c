/* system and popen: the C library starts the shell without a call that could be stood in front of.
 *
 * So it starts one that does nothing but execute the wrapper, for the shell that was meant.  These two are not called
 * after vfork and may allocate. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/_intercept/image.h"

#define EXPORT __attribute__((visibility("default")))

/* How much longer a text can become in quotes: '\'' for one character, the two around it, a space, and the end. */
static size_t quoted_size(const char *text)
{
    return 4 * strlen(text) + 4;
}

static char *quote(char *out, const char *text)
{
    *out++ = '\'';
    for (; *text; text++)
        if (*text == '\'')
            out = stpcpy(out, "'\\''");
        else
            *out++ = *text;
    return stpcpy(out, "' ");
}

/* NAME='VALUE' */
static char *assign(char *out, const char *entry)
{
    size_t name = (size_t)(strchr(entry, '=') + 1 - entry);
    return quote(mempcpy(out, entry, name), entry + name);
}

static char *compose(const struct image *image)
{
    size_t size = sizeof "exec ";
    for (char **entry = image->env; *entry; entry++)
        size += image_is_variable(*entry) ? quoted_size(*entry) : 0;
    for (char **word = image->argv; *word; word++)
        size += quoted_size(*word);
    char *text = malloc(size), *end = text;
    if (!text)
        return NULL;
    for (char **entry = image->env; *entry; entry++)
        if (image_is_variable(*entry))
            end = assign(end, *entry);
    end = stpcpy(end, "exec ");
    for (char **word = image->argv; *word; word++)
        end = quote(end, *word);
    return text;
}

/* The command that has the wrapper asked for `sh -c COMMAND`; NULL without memory. */
static char *wrapped(const char *command)
{
    char *argv[] = {"sh", "-c", (char *)(size_t)command, NULL};
    void *room = malloc(image_room(argv, environ));
    if (!room)
        return NULL;
    struct image image;
    image_fill(&image, room, "/bin/sh", argv, environ);
    char *text = compose(&image);
    free(room);
    return text;
}

EXPORT int system(const char *command)
{
    int (*next)(const char *) = (int (*)(const char *))(size_t)dlsym(RTLD_NEXT, "system");
    if (!command || !image_wanted())
        return next(command);
    char *text = wrapped(command);
    int status = text ? next(text) : -1;
    free(text);
    return status;
}

EXPORT FILE *popen(const char *command, const char *mode)
{
    FILE *(*next)(const char *, const char *) =
        (FILE * (*)(const char *, const char *))(size_t)dlsym(RTLD_NEXT, "popen");
    if (!image_wanted())
        return next(command, mode);
    char *text = wrapped(command);
    FILE *pipe = text ? next(text, mode) : NULL;
    free(text);
    return pipe;
}
