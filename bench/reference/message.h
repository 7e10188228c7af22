/* The messages of the load generator, and the two encodings it speaks them in.
 *
 * Requests are written through a `codec` item by item. Of what the server sends, only the members that the workloads
 * look at are read; a byte string is measured from its length and never copied or decoded. Both parsers walk the
 * members in whatever order they come. */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kind { OTHER, ANSWER, OUTPUT, EXITED, CLOSED };

struct message {
    enum kind kind;
    bool failed;        /* an error answer */
    int64_t id;         /* of the request, for answers */
    int64_t process;    /* the number in processId, which is "p<number>" */
    int64_t seq;
    int64_t exit_code;
    uint64_t bytes;     /* length of the chunk or of the file's data, decoded */
};

struct span {
    const char *data;
    size_t length;
};

enum { REQUEST_ROOM = 65536 };

struct request {
    size_t start, end; /* of what is to be sent; before it is room for what frames it */
    char data[REQUEST_ROOM];
};

struct codec {
    void (*map)(struct request *, size_t members);
    void (*list)(struct request *, size_t items);
    void (*end_map)(struct request *);
    void (*end_list)(struct request *);
    void (*key)(struct request *, const char *name);
    void (*text)(struct request *, const char *text);
    void (*integer)(struct request *, int64_t value);
    void (*boolean)(struct request *, bool value);
    void (*byte)(struct request *, char value); /* a byte string of one byte */
    struct message (*parse)(struct span text);
};

extern const struct codec cbor_codec, json_codec;

void put(struct request *request, const void *data, size_t length);
enum kind kind_of_method(const char *name, size_t length);
int64_t process_number(const char *id, size_t length);
bool same(const char *name, size_t length, const char *wanted);

#endif
