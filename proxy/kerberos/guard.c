/*
 * guard: the shared page. Holds a hash and a time, no secret.
 * Made in the *master*, used in the *kerberos* processes.
 */
#include "proxy/kerberos/guard.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <sys/mman.h>

struct page {
	pthread_mutex_t lock; /* held for the length of a logon */
	uint8_t keytab[SHA256_SIZE];
	int64_t refused_at; /* seconds, CLOCK_BOOTTIME; 0: never */
};

static struct page *page;

static int64_t now_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (int64_t)t.tv_sec + 1; /* never 0 */
}

int guard_setup(void)
{
	pthread_mutexattr_t attr;
	struct page *p;
	int rc;

	if (page != NULL)
		return 0;
	p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	rc = pthread_mutexattr_init(&attr);
	if (rc == 0) {
		pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
		pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
		rc = pthread_mutex_init(&p->lock, &attr);
		pthread_mutexattr_destroy(&attr);
	}
	if (rc != 0) {
		munmap(p, sizeof(*p));
		return -rc;
	}
	page = p;
	return 0;
}

/* A holder that died leaves the page as it was: the refusal is written in one act, behind the hash.
 */
static bool take(unsigned wait_ms)
{
	struct timespec until;
	int rc;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += wait_ms / 1000;
	until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	rc = pthread_mutex_clocklock(&page->lock, CLOCK_MONOTONIC, &until);
	if (rc == EOWNERDEAD)
		rc = pthread_mutex_consistent(&page->lock);
	return rc == 0;
}

bool guard_enter(const uint8_t keytab[SHA256_SIZE], unsigned wait_ms, bool *refused)
{
	int64_t age;

	*refused = false;
	if (guard_setup() < 0 || !take(wait_ms))
		return false;
	age = now_seconds() - page->refused_at;
	if (page->refused_at != 0 && age < GUARD_SECONDS &&
	    CRYPTO_memcmp(page->keytab, keytab, SHA256_SIZE) == 0) {
		*refused = true;
		pthread_mutex_unlock(&page->lock);
		return false;
	}
	return true;
}

void guard_leave(const uint8_t keytab[SHA256_SIZE], bool refused)
{
	if (refused) {
		page->refused_at = 0;
		memcpy(page->keytab, keytab, SHA256_SIZE);
		page->refused_at = now_seconds();
	}
	pthread_mutex_unlock(&page->lock);
}
