/*
 * survey_table: what one survey of the devices found: people in the order of their names, each with the devices that were seen, and what those mean for a switch
 * to certificates. Bounded in devices and bytes, whatever Redis holds; every look-up costs the logarithm of what is there, whoever chose the keys.
 * Pure. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_SURVEY_TABLE_H
#define EASGATE_ENROLL_SURVEY_TABLE_H

#include "common/device_rows.h"
#include "enroll/settings.h"

#define SURVEY_DEVICES	 100000
#define SURVEY_BYTES	 (96u << 20)
#define SURVEY_FIGURE	 1000000000000ull	/* a count from Redis is at most so much: each of them, and their sum, is an exact number in JSON */
#define SURVEY_MOVED	 86400	/* a device that came by certificate so long after its last password has moved */

enum survey_verdict {
	SURVEY_CERTIFICATE = 0,	/* came by certificate */
	SURVEY_PASSWORD,	/* holds its owner back: so it came last */
	SURVEY_BEARER,
	SURVEY_UNKNOWN,		/* likewise: nobody knows how it came */
	SURVEY_MOVED_ON,	/* it came by password; the same device of the same person comes by certificate since */
	SURVEY_OLD,		/* not seen for so many days, or never */
	SURVEY_BLOCKED,		/* gets no mail: counts for nothing */
	SURVEY_VERDICTS
};
const char *survey_verdict_text(enum survey_verdict verdict);
static inline bool survey_holds_back(enum survey_verdict v) { return v == SURVEY_PASSWORD || v == SURVEY_BEARER || v == SURVEY_UNKNOWN; }

struct survey_user;
struct survey_device {
	struct survey_device *next;	/* of the same person; the newest first as a rule */
	struct survey_user *user;
	uint8_t key[SHA256_SIZE];
	int64_t first_seen, last_seen;
	uint8_t state, method, verdict;	/* enum device_state; enum device_method, DEVICE_METHODS: not known */
	const char *id, *type, *agent, *client, *command;	/* never NULL */
	char text[];
};

enum survey_known { SURVEY_NOT_ASKED = 0, SURVEY_KNOWN, SURVEY_NOBODY, SURVEY_UNAVAILABLE };	/* SURVEY_NOBODY: the directory knows no such account */
struct survey_user {
	struct survey_device *devices;
	unsigned devices_n, holding, seen;	/* holding: of them, those that hold back; seen: in these days, and not blocked */
	uint64_t listed;			/* bit of migration.all: the directory has listed this person as an enabled member of the group */
	uint64_t groups;			/* bits of struct account.groups, when known == SURVEY_KNOWN */
	int64_t groups_at;			/* when the directory said so */
	enum survey_known known;
	uint64_t absorbed, prevented;		/* of the lockout guard, see lockout:<sid> */
	int64_t last_bad;
	const char *upn;			/* never NULL */
	char sid[DEVICE_SID_MAX];
	char text[DEVICE_UPN_MAX];
};

/* users and devices: those that were seen in these days; without: enabled members of whom none was. unlisted: the directory could not say who they are. */
struct survey_group { unsigned users, ready, devices, holding, without; bool unlisted; };
struct survey_totals {
	unsigned verdicts[SURVEY_VERDICTS];
	unsigned without;	/* different people */
	unsigned users, unknown_users, unknown_holding;	/* unknown: whose groups nobody could say */
	uint64_t absorbed, prevented;
	struct survey_group groups[ENROLL_GROUPS_MAX];	/* as migration.all */
};

struct survey_table;
struct survey_table *survey_table_new(void);	/* NULL: out of memory */
void survey_table_free(struct survey_table *t);	/* accepts NULL */
/* False: it does not fit any more, and what is there is not all. A key that is there already is passed over. */
MUST_CHECK bool survey_table_add(struct survey_table *t, const struct device_row *row);
size_t survey_table_devices(const struct survey_table *t);
/* After the judgement: the directory lists somebody, who may have no device at all, as a member of group number `group`. False: as above. */
MUST_CHECK bool survey_table_list(struct survey_table *t, const char *sid, const char *name, unsigned group, struct survey_totals *totals);
/* All people by name; once more where some were listed since. -1: out of memory. */
MUST_CHECK int survey_table_arrange(struct survey_table *t);
/* After that: number i, or NULL. */
struct survey_user *survey_table_user(struct survey_table *t, size_t i);
/* By SID; NULL: not there. */
struct survey_user *survey_table_find(struct survey_table *t, const char *sid);
/* Judges the devices of one person, whose groups are known by now, and adds them to the totals. since: what was seen last before it is old. */
void survey_table_judge(struct survey_user *u, const struct enroll_migration *m, int64_t since, struct survey_totals *totals);

#endif
