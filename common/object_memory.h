/*
 * object_memory: where the many small objects of OpenSSL and libevent live.
 *
 * A TLS 1.3 handshake allocates and frees hundreds of objects, nearly all below 512 bytes: by the C library that is one
 * twentieth of its CPU. And what a rush leaves behind (libevent keeps 16 bytes for each descriptor it ever saw) holds pages of the
 * heap back, one by one. Here objects of one size lie together in slabs, a free one is found without a search, and an empty
 * slab goes back to the kernel.
 *
 * For a process without threads. Not in sanitized builds, which are to see every object by itself.
 */
#ifndef EASGATE_OBJECT_MEMORY_H
#define EASGATE_OBJECT_MEMORY_H

#include "common/base.h"

/*
 * Makes OpenSSL and libevent allocate here. Call first in main(), before anything of them runs; children have it by fork. Where
 * the kernel refuses the address space (RLIMIT_AS, strict overcommit) the C library goes on serving them: no error.
 */
void object_memory_init(void);

/*
 * For small objects of ours that outlive a rush: on the heap each would hold a page back. Zeroed; NULL: out of memory. In sanitized
 * builds, and before object_memory_init(), calloc() and free().
 */
void *object_new(size_t n);
void object_free(void *p);

/* Gives back what is kept for the next rush: when one has gone. Before malloc_trim(). */
void object_memory_trim(void);

struct object_memory_use {
	size_t slabs;		/* in use, of OBJECT_SLAB_SIZE each */
	size_t kept;		/* empty, kept for the next object */
	size_t objects;		/* in slabs */
};
void object_memory_use(struct object_memory_use *out);
#define OBJECT_SLAB_SIZE 32768u

/* --- what OpenSSL, libevent and SQLite call; also for tests --- */
/* As malloc(), realloc(), free() of C17. Aligned to 16 bytes. Objects above 4 KiB are the C library's. */
void *object_memory_get(size_t n);
void *object_memory_resize(void *p, size_t n);
void object_memory_give(void *p);
size_t object_memory_size(void *p);	/* how many bytes of it may be used; NULL: 0 */

#endif
