/*
 * registry_sqlite_transactions: where a change begins and ends, and many changes in one commit. Worker process and CLI.
 *
 * Alone, each change is a transaction. In a group (registry_group()) the first one opens a transaction that all later ones join, each as a savepoint of
 * its own: one that is refused leaves nothing behind, and the pages that all of them touch are written to the log once. A savepoint keeps a copy of each page
 * that is changed behind it; what every enrolment does (reg_begin_sure()) goes without.
 *
 * A commit that fails (a full disk) takes all changes of its group back, of which the callers were told that they are made: that is the end of the
 * process. So that a disk that stays full does not end one process after the other, a group is begun only after COMMITS_FIRST commits that went well; until
 * then each change commits by itself and says itself that it failed.
 */
#include <time.h>

#include "common/log.h"
#include "enroll/metric_table.h"
#include "enroll/worker/registry_parts.h"

#define LOG_PAGES     4000	/* 16 MiB: moved behind the next answers. A thousand, 500 or 250 take as long each (two syncs), and so longer in all */
#define LOG_MOST      12000	/* where nobody says that anything was synced: moved by the commit itself */
#define REST_PAGES    64	/* moved while nobody waits */
#define GROUP_MAX     256	/* changes; bounds what is kept in memory and what one failed commit takes back */
#define COMMITS_FIRST 8

/*
 * Instead of SQLite's own hook, which would move the log into the file every 1000 pages: the same rows' pages are written again and again, so
 * that a longer log saves work. PASSIVE waits for nobody; it syncs the log before and the file after (synchronous=NORMAL), and a log whose
 * pages are all in the file is begun anew by the next commit.
 */
static void move_log(struct registry *r, enum enroll_log_when when)
{
	struct timespec from, to;

	clock_gettime(CLOCK_MONOTONIC, &from);
	if (sqlite3_wal_checkpoint_v2(r->db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) != SQLITE_OK)
		log_say(LOG_WARNING, "registry_log_long", "its log of %d pages could not be moved into the file: %s", r->log_pages, sqlite3_errmsg(r->db));
	clock_gettime(CLOCK_MONOTONIC, &to);
	metrics_observe_us(EM_REGISTRY_LOG, when, (uint64_t)((to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000));
	r->log_pages = 0;
}

static int on_commit(void *arg, sqlite3 *db, const char *name, int pages)
{
	struct registry *r = arg;

	(void)db;
	(void)name;
	r->log_pages = pages;
	reg_patience(r, true);
	if (pages >= LOG_MOST)
		move_log(r, LOG_WHEN_LONG);
	r->commits++;
	r->changed(r->changed_arg);
	return SQLITE_OK;
}

int registry_group(struct registry *r, registry_changed_fn *changed, void *arg)
{
	if (sqlite3_exec(r->db, "PRAGMA synchronous=NORMAL", NULL, NULL, NULL) != SQLITE_OK) {
		reg_fail(r, REGISTRY_FAILED, "registry: %s", sqlite3_errmsg(r->db));
		return -1;
	}
	r->changed = changed;
	r->changed_arg = arg;
	sqlite3_wal_hook(r->db, on_commit, r);
	return 0;
}

static void roll_back(struct registry *r)
{
	char problem[sizeof(r->problem)];

	memcpy(problem, r->problem, sizeof(problem));
	if (sqlite3_get_autocommit(r->db) == 0 && sqlite3_exec(r->db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
		bug("registry: %s", sqlite3_errmsg(r->db));
	memcpy(r->problem, problem, sizeof(problem));
}

static void lose(struct registry *r)
{
	r->open = false;
	r->lost = true;
	log_say(LOG_ERROR, "registry_lost", "%u changes could not be committed, and none of them is answered: %s", r->joined, r->problem);
	r->changed(r->changed_arg);	/* whoever settles hears of it */
}

/* SQLite takes a whole transaction back when it has no memory, no room or cannot read: what others did in it is gone then, too. */
static bool is_lost(struct registry *r)
{
	if (r->open && sqlite3_get_autocommit(r->db) != 0)
		lose(r);
	return r->lost;
}

/* The group's transaction is there, and this change is in it: as a savepoint, or as one that refuses before it writes. */
static enum registry_result join(struct registry *r, bool sure)
{
	enum registry_result rc;

	if (!r->open) {
		rc = reg_run(r, "BEGIN IMMEDIATE", "");
		if (rc != REGISTRY_OK)
			return rc;
		r->open = true;
		r->tail_known = false;
		r->joined = 0;
		r->changed(r->changed_arg);
	}
	r->sure = sure;
	r->changes = sqlite3_total_changes64(r->db);
	return sure ? REGISTRY_OK : reg_run(r, "SAVEPOINT change", "");
}

static enum registry_result begin(struct registry *r, bool sure)
{
	if (is_lost(r) || (r->open && r->joined >= GROUP_MAX && registry_settle(r) < 0))
		return reg_fail(r, REGISTRY_FAILED, "registry: changes were lost; the process ends");
	if (r->open || (r->changed != NULL && r->commits >= COMMITS_FIRST))
		return join(r, sure);
	return reg_run(r, "BEGIN IMMEDIATE", "");
}

enum registry_result reg_begin(struct registry *r)
{
	return begin(r, false);
}

enum registry_result reg_begin_sure(struct registry *r)
{
	return begin(r, true);
}
/* Refused before it wrote anything; else nobody can tell what of it is there, and with it goes the whole group. */
static enum registry_result leave_sure(struct registry *r, enum registry_result rc)
{
	if (rc == REGISTRY_OK) {
		r->joined++;
		return rc;
	}
	if (is_lost(r) || sqlite3_total_changes64(r->db) == r->changes)
		return rc;
	roll_back(r);
	lose(r);
	return REGISTRY_FAILED;
}

static enum registry_result leave(struct registry *r, enum registry_result rc)
{
	char problem[sizeof(r->problem)];

	if (r->sure)
		return leave_sure(r, rc);
	memcpy(problem, r->problem, sizeof(problem));
	if (rc == REGISTRY_OK)
		rc = reg_run(r, "RELEASE change", "");
	else if (!is_lost(r) && sqlite3_exec(r->db, "ROLLBACK TO change;RELEASE change", NULL, NULL, NULL) != SQLITE_OK)
		bug("registry: %s", sqlite3_errmsg(r->db));
	if (rc == REGISTRY_OK) {
		r->joined++;
		return rc;
	}
	r->tail_known = false;
	memcpy(r->problem, problem, sizeof(problem));
	return rc;
}

enum registry_result reg_end(struct registry *r, enum registry_result rc)
{
	if (r->open)
		return leave(r, rc);
	if (rc == REGISTRY_OK) {
		rc = reg_run(r, "COMMIT", "");
		if (rc == REGISTRY_OK)
			return REGISTRY_OK;
		rc = REGISTRY_FAILED;
	}
	roll_back(r);
	return rc;
}

int registry_settle(struct registry *r)
{
	if (is_lost(r))
		return -1;
	if (!r->open)
		return 0;
	if (reg_run(r, "COMMIT", "") == REGISTRY_OK) {
		r->open = false;
		return 0;
	}
	roll_back(r);
	lose(r);
	return -1;
}

void registry_rest(struct registry *r)
{
	if (!r->open && !r->lost && r->log_pages >= REST_PAGES)
		move_log(r, LOG_WHEN_REST);
}

void registry_synced(struct registry *r)
{
	/* SQLite moves nothing while a transaction of its own is open; one that is lost here is told by the next settling */
	if (r->log_pages >= LOG_PAGES && registry_settle(r) == 0)
		move_log(r, LOG_WHEN_LONG);
}

void reg_close(struct registry *r)
{
	sqlite3_wal_hook(r->db, NULL, NULL);
	if (r->open && sqlite3_get_autocommit(r->db) == 0 && reg_run(r, "COMMIT", "") != REGISTRY_OK)
		log_say(LOG_ERROR, "registry_lost", "%u changes could not be committed: %s", r->joined, r->problem);
	r->open = false;
}
