/* posix_spawn: the C library does it all, file actions and attributes, with the wrapper for the program. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <spawn.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "engine/_intercept/image.h"
#include "engine/_intercept/program.h"
#include "engine/_intercept/socket.h"

#define EXPORT __attribute__((visibility("default")))

typedef posix_spawn_file_actions_t file_actions;

/* int for a PID, or for a descriptor of one. */
typedef int spawn_function(int *child, const char *file, const file_actions *actions, const posix_spawnattr_t *attributes,
                           char *const argv[], char *const env[]);
typedef int number_function(file_actions *actions, int number);

_Static_assert(sizeof(pid_t) == sizeof(int), "posix_spawn and pidfd_spawn have one type");

static spawn_function *real_spawn, *real_pidfd_spawn;
static number_function *real_addclose, *real_addclosefrom, *real_addfchdir;
static int (*real_adddup2)(file_actions *actions, int old, int new);
static int (*real_addopen)(file_actions *actions, int fd, const char *path, int flags, mode_t mode);
static int (*real_addchdir)(file_actions *actions, const char *path);

#define FIND(name, symbol) (real_##name = (__typeof__(real_##name))(size_t)dlsym(RTLD_NEXT, symbol))

__attribute__((constructor)) static void find_functions(void)
{
    FIND(spawn, "posix_spawn");
    FIND(pidfd_spawn, "pidfd_spawn");
    FIND(addclose, "posix_spawn_file_actions_addclose");
    FIND(addclosefrom, "posix_spawn_file_actions_addclosefrom_np");
    FIND(adddup2, "posix_spawn_file_actions_adddup2");
    FIND(addopen, "posix_spawn_file_actions_addopen");
    FIND(addchdir, "posix_spawn_file_actions_addchdir_np");
    FIND(addfchdir, "posix_spawn_file_actions_addfchdir_np");
}

/* ---- spawn ------------------------------------------------------------------------------------------------------- */

enum { MOVES = 0x6d6f7665 };

/* Marks actions that change the folder, in a part of the structure that both glibc and musl keep for later. */
static int *mark_of(file_actions *actions)
{
    return &actions->__pad[sizeof actions->__pad / sizeof *actions->__pad - 1];
}

/* Whether a relative path will be looked up in a folder that is not yet the current one. */
static bool moves(const file_actions *actions)
{
    return actions && *mark_of((file_actions *)(size_t)actions) == MOVES;
}

struct request {
    spawn_function *spawn;
    int *child;
    const file_actions *actions;
    const posix_spawnattr_t *attributes;
    char *const *argv, *const *env;
};

static int attempt(const char *file, void *context)
{
    const struct request *request = context;
    int refused = *file != '/' && moves(request->actions) ? 0 : program_check(file);
    if (refused)
        return refused;
    char *room[image_room(request->argv, request->env) / sizeof(char *) + 1];
    struct image image;
    image_fill(&image, room, file, request->argv, request->env);
    socket_keep();
    return request->spawn(request->child, image.path, request->actions, request->attributes, image.argv, image.env);
}

static int spawn(struct request request, const char *file, bool search)
{
    if (!request.spawn)
        return ENOSYS;
    return search ? program_search(file, attempt, &request) : attempt(file, &request);
}

/* Stand-ins for one function of the family: `symbol` is its own name. */
#define SPAWN(symbol, function, search)                                                                                \
    EXPORT int symbol(int *child, const char *file, const file_actions *actions, const posix_spawnattr_t *attributes,  \
                      char *const argv[], char *const env[])                                                           \
    {                                                                                                                  \
        if (!image_wanted()) {                                                                                         \
            spawn_function *next = (spawn_function *)(size_t)dlsym(RTLD_NEXT, #symbol);                                \
            return next ? next(child, file, actions, attributes, argv, env) : ENOSYS;                                  \
        }                                                                                                              \
        return spawn((struct request){function, child, actions, attributes, argv, env}, file, search);                 \
    }

SPAWN(posix_spawn, real_spawn, false)
SPAWN(posix_spawnp, real_spawn, true)
SPAWN(pidfd_spawn, real_pidfd_spawn, false)
SPAWN(pidfd_spawnp, real_pidfd_spawn, true)

/* ---- file actions: the socket stays open in the child ------------------------------------------------------------ */

EXPORT int posix_spawn_file_actions_addclose(file_actions *actions, int fd)
{
    return socket_is(fd) ? 0 : real_addclose(actions, fd);
}

EXPORT int posix_spawn_file_actions_addclosefrom_np(file_actions *actions, int lowest)
{
    int fd = socket_number(), failed = 0;
    if (!real_addclosefrom)
        return ENOSYS;
    if (lowest < 0 || fd < lowest)
        return real_addclosefrom(actions, lowest);
    while (lowest < fd && !failed) /* one by one up to the socket: what is not open does no harm */
        failed = real_addclose(actions, lowest++);
    return failed ? failed : real_addclosefrom(actions, fd + 1);
}

/* A number that the child would lose the socket by; the socket's is far above those that programs choose. */
EXPORT int posix_spawn_file_actions_adddup2(file_actions *actions, int old, int new)
{
    return socket_is(new) && old != new ? EBADF : real_adddup2(actions, old, new);
}

EXPORT int posix_spawn_file_actions_addopen(file_actions *actions, int fd, const char *path, int flags, mode_t mode)
{
    return socket_is(fd) ? EBADF : real_addopen(actions, fd, path, flags, mode);
}

EXPORT int posix_spawn_file_actions_addchdir_np(file_actions *actions, const char *path)
{
    if (!real_addchdir)
        return ENOSYS;
    *mark_of(actions) = MOVES;
    return real_addchdir(actions, path);
}

EXPORT int posix_spawn_file_actions_addfchdir_np(file_actions *actions, int fd)
{
    if (!real_addfchdir)
        return ENOSYS;
    *mark_of(actions) = MOVES;
    return real_addfchdir(actions, fd);
}

/* The names of the same in POSIX.1-2024. */
EXPORT int posix_spawn_file_actions_addchdir(file_actions *actions, const char *path)
{
    return posix_spawn_file_actions_addchdir_np(actions, path);
}

EXPORT int posix_spawn_file_actions_addfchdir(file_actions *actions, int fd)
{
    return posix_spawn_file_actions_addfchdir_np(actions, fd);
}
