/* See image.h. */
#define _GNU_SOURCE
#include "engine/_intercept/image.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "engine/_intercept/decimal.h"
#include "engine/_intercept/socket.h"

#define NUMBER "EXECNODE_ESCALATE_FD="
#define WRAPPER "EXEC_WRAPPER="
#define BASH_WRAPPER "BASH_EXEC_WRAPPER="
#define PRELOAD "LD_PRELOAD="

enum {
    NUMBER_SIZE = sizeof NUMBER + DECIMAL_SIZE,
    ADDED = 4,  /* variables */
    BEFORE = 3, /* arguments: wrapper, --, file; then those of the program, or an empty one, and the end */
};

/* Whole entries of an environment; the empty string where there is none. */
static char wrapper[sizeof WRAPPER + PATH_MAX], bash_wrapper[sizeof BASH_WRAPPER + PATH_MAX],
    preload[sizeof PRELOAD + PATH_MAX], number[NUMBER_SIZE];
static bool wanted;

/* ---- at load time ------------------------------------------------------------------------------------------------ */

static bool remember(char *entry, size_t size, const char *prefix, const char *value)
{
    if (!value || strlen(prefix) + strlen(value) >= size)
        return false;
    stpcpy(stpcpy(entry, prefix), value);
    return true;
}

/* -1 when the socket is gone: the wrapper then says that there is nobody to ask. */
static void write_number(char *entry)
{
    int fd = socket_number();
    char *end = stpcpy(entry, NUMBER);
    if (fd < 0)
        stpcpy(end, "-1");
    else
        write_decimal(end, fd);
}

/* The program reads the number that the socket was moved to. */
static void tell_number(void)
{
    write_number(number);
    for (char **entry = environ; entry && *entry; entry++)
        if (strncmp(*entry, NUMBER, strlen(NUMBER)) == 0)
            *entry = number;
}

static void remember_self(void)
{
    Dl_info self;
    if (dladdr(&wanted, &self))
        remember(preload, sizeof preload, PRELOAD, self.dli_fname);
}

void image_prepare(void)
{
    static bool prepared;
    const char *fd = getenv("EXECNODE_ESCALATE_FD"), *running = (const char *)getauxval(AT_EXECFN);
    if (prepared)
        return;
    prepared = true;
    if (!fd || !remember(wrapper, sizeof wrapper, WRAPPER, getenv("EXEC_WRAPPER")))
        return;
    if (running && image_is_wrapper(running)) /* linked dynamically, it would ask itself */
        return;
    remember(bash_wrapper, sizeof bash_wrapper, BASH_WRAPPER, getenv("BASH_EXEC_WRAPPER"));
    remember_self();
    socket_adopt(atoi(fd));
    tell_number();
    wanted = true;
}

bool image_wanted(void)
{
    return wanted;
}

bool image_is_wrapper(const char *file)
{
    return strcmp(file, wrapper + strlen(WRAPPER)) == 0;
}

/* ---- at each execution ------------------------------------------------------------------------------------------- */

static size_t count(char *const list[])
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

static char *find(char *const env[], const char *prefix)
{
    for (; env && *env; env++)
        if (strncmp(*env, prefix, strlen(prefix)) == 0)
            return *env;
    return NULL;
}

/* Whether this library is in the list already; the loader takes colons and spaces. */
static bool loads_us(const char *list)
{
    const char *self = preload + strlen(PRELOAD);
    size_t length = strlen(self);
    while (*list) {
        size_t item = strcspn(list, ": ");
        if (item == length && memcmp(list, self, length) == 0)
            return true;
        list += item;
        list += *list != '\0';
    }
    return false;
}

/* The caller's list with this library in front, in `room`. */
static char *preload_entry(char *entry, char *room)
{
    const char *list = entry ? entry + strlen(PRELOAD) : "";
    if (*preload == '\0' || loads_us(list))
        return entry;
    if (*list == '\0')
        return preload;
    stpcpy(stpcpy(stpcpy(room, preload), ":"), list);
    return room;
}

bool image_is_variable(const char *entry)
{
    static const char *const prefixes[ADDED] = {NUMBER, WRAPPER, BASH_WRAPPER, PRELOAD};
    for (int i = 0; i < ADDED; i++)
        if (strncmp(entry, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

/* In the order of the caller, whose other variables are not looked at. */
static void fill_environment(char **out, char *const env[], char *number_entry, char *loaded)
{
    for (; env && *env; env++)
        if (!image_is_variable(*env))
            *out++ = *env;
    *out++ = number_entry;
    *out++ = wrapper;
    if (*bash_wrapper)
        *out++ = bash_wrapper;
    if (loaded)
        *out++ = loaded;
    *out = NULL;
}

size_t image_room(char *const argv[], char *const env[])
{
    const char *list = find(env, PRELOAD);
    size_t pointers = count(argv) + BEFORE + 2 + count(env) + ADDED + 1;
    return pointers * sizeof(char *) + NUMBER_SIZE + sizeof preload + 1 + (list ? strlen(list) : 0);
}

void image_fill(struct image *image, void *room, const char *file, char *const argv[], char *const env[])
{
    static char empty[] = "", marker[] = "--";
    size_t argc = count(argv);
    char **pointers = room;
    image->argv = pointers;
    image->env = pointers + argc + BEFORE + 2;
    char *strings = (char *)(image->env + count(env) + ADDED + 1);
    image->path = wrapper + strlen(WRAPPER);
    if (!image_is_wrapper(file)) {
        *pointers++ = wrapper + strlen(WRAPPER);
        if (*file == '-') /* not one of the wrapper's options */
            *pointers++ = marker;
        *pointers++ = (char *)(size_t)file;
    }
    if (argc > 0)
        memcpy(pointers, argv, argc * sizeof *argv);
    else
        pointers[argc++] = empty; /* what the kernel makes of an empty list */
    pointers[argc] = NULL;
    write_number(strings);
    fill_environment(image->env, env, strings, preload_entry(find(env, PRELOAD), strings + NUMBER_SIZE));
}
