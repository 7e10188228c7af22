/* The escalation socket among the program's own descriptors.
 *
 * The program does not know of it, and may close or replace every descriptor that it does not know.  It is therefore
 * recognised by its inode and not by its number alone: a vfork child that moves its copy writes into the memory of its
 * parent, whose own copy stays where it was.
 */
#ifndef EXECNODE_INTERCEPT_SOCKET_H
#define EXECNODE_INTERCEPT_SOCKET_H

#include <stdbool.h>

/* Take note of the socket at load time, and move it out of the way of scripts, which like low numbers (`exec 3>f`). */
void socket_adopt(int fd);

/* Whether `fd` is the socket in this process. */
bool socket_is(int fd);

/* Its number in this process, or -1 when it is gone. */
int socket_number(void);

/* Let it stay open in the program that is executed next. */
void socket_keep(void);

/* The program wants this number for itself: move the socket to another one.  False when there is none. */
bool socket_give_way(int fd);

#endif
