/*
 * crypto_memory: where OpenSSL's many small objects live.
 *
 * A TLS 1.3 handshake allocates and frees some 800 objects, nearly all below 512 bytes: by the C library that is one
 * twentieth of its CPU, and what thousands of held sessions leave behind keeps its heap from shrinking. Here objects of
 * one size lie together in slabs, a free one is found without a search, and an empty slab goes back to the kernel.
 *
 * For a process without threads. Not in sanitized builds, which are to see every object by itself.
 */
#ifndef EASGATE_CRYPTO_MEMORY_H
#define EASGATE_CRYPTO_MEMORY_H

#include "common/base.h"

/*
 * Makes OpenSSL allocate here. Call first in main(), before anything of OpenSSL runs; children have it by fork. Where the
 * kernel refuses the address space (RLIMIT_AS, strict overcommit) the C library goes on serving OpenSSL: no error.
 */
void crypto_memory_init(void);

struct crypto_memory_use {
	size_t slabs;		/* in use, of CRYPTO_SLAB_SIZE each */
	size_t kept;		/* empty, kept for the next object */
	size_t objects;		/* in slabs */
};
void crypto_memory_use(struct crypto_memory_use *out);
#define CRYPTO_SLAB_SIZE 65536u

/* --- what OpenSSL calls; also for tests --- */
/* As malloc(), realloc(), free() of C17. Aligned to 16 bytes. Objects above 8 KiB are the C library's. */
void *crypto_memory_get(size_t n);
void *crypto_memory_resize(void *p, size_t n);
void crypto_memory_give(void *p);

#endif
