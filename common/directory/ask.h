/*
 * ask: the account record, and the question that workers put to the *directory* process over a wire.
 */
#ifndef EASGATE_DIRECTORY_ASK_H
#define EASGATE_DIRECTORY_ASK_H

#include "common/base.h"

#define ACCOUNT_SID_MAX		192
#define ACCOUNT_NAME_MAX	128
#define ACCOUNT_TEXT_MAX	320
#define VOUCHER_SIZE		56
#define DIRECTORY_CLAIM_MAX	640
#define DIRECTORY_PASSWORD_MAX	256
#define DIRECTORY_NO_MARGIN	UINT32_MAX

enum directory_verb {
	DIRECTORY_FIND = 1,	/* worker -> directory: struct directory_find; answer: struct directory_found */
	DIRECTORY_CHANGED,	/* directory -> worker, tell: struct directory_changed */
	DIRECTORY_FORGET,	/* revocation or worker -> directory, tell: struct directory_changed (an event named this account) */
	DIRECTORY_MEMBERS,	/* easenroll's worker -> directory: struct directory_members; answer: the used part of struct directory_member_page */
};

/* also: */
#define DIRECTORY_SIGN_IN 0x8011u /* lockout -> directory: struct directory_sign_in; answer: struct directory_signed_in.
				     The high bit is WIRE_SECRET. */
#define DIRECTORY_STATE 16	/* directory -> worker, tell: struct directory_state; at every change and at each new link */

struct directory_state {
	uint32_t up;		/* 1: answers can be had */
	char text[252];		/* when not: which server, why, the cure */
};

enum account_result {
	ACCOUNT_UNAVAILABLE = 0,	/* no directory answered, and nothing usable is cached: 503 */
	ACCOUNT_FOUND,
	ACCOUNT_UNKNOWN,		/* no such account: 403 */
	ACCOUNT_AMBIGUOUS,		/* more than one: 403 */
	ACCOUNT_MISMATCH,		/* found, but its SID is not the certificate's: 403 */
};
const char *account_result_text(uint32_t result);

/* Bits of struct account.flags. A fact not known to be good is bad: only ACCOUNT_ENABLED lets anybody in. */
#define ACCOUNT_ENABLED		0x01u	/* not disabled */
#define ACCOUNT_EXPIRED		0x02u
#define ACCOUNT_LOCKED		0x04u
#define ACCOUNT_PASSWORD_EXPIRED 0x08u
#define ACCOUNT_NOT_DELEGATED	0x10u	/* "sensitive and cannot be delegated", or in Protected Users */
#define ACCOUNT_PROTECTED	0x20u	/* member of a refused group: no Kerberos ticket in its name */

/* One AD user object. Flat, NUL-terminated clean UTF-8. */
struct account {
	char sid[ACCOUNT_SID_MAX];
	char sam[ACCOUNT_NAME_MAX];		/* sAMAccountName */
	char realm[ACCOUNT_NAME_MAX];		/* Kerberos realm, upper case */
	char netbios[32];			/* short domain name, "" when not known */
	char upn[ACCOUNT_TEXT_MAX];
	char mail[ACCOUNT_TEXT_MAX];
	char display_name[ACCOUNT_TEXT_MAX];
	uint64_t groups;			/* bit i: member (nested too) of group i of settings_groups() */
	uint64_t groups_missing;		/* bit i: the directory has no such group: its 0 above lets nobody in, and says of nobody that he left */
	uint32_t flags;
	uint32_t bad_password_count;		/* of the server that was asked; 0 once the observation window is over */
	uint32_t lockout_threshold;		/* of the account: its password settings object's, else the domain's; 0: it is never locked */
	uint32_t lockout_window;		/* lockOutObservationWindow likewise, in seconds; 0: not known */
	uint32_t lockout_known;			/* 0: the threshold could not be read; then the 0 above says nothing */
	int64_t expires;			/* accountExpires, seconds since the epoch; 0: never */
	int64_t pwd_last_set;			/* pwdLastSet as it stands: another number, another password; 0: must be changed */
};

struct directory_find {
	uint32_t kind;				/* enum claim_kind of the program */
	uint32_t fresh;				/* 1: past the cache */
	uint32_t unproven;			/* 1: nobody has verified the claim: no voucher */
	char value[DIRECTORY_CLAIM_MAX];
	char sid[ACCOUNT_SID_MAX];		/* must match when not "" */
	uint8_t certificate[SHA256_SIZE];	/* the voucher is made out for this one */
};

struct directory_found {
	uint32_t result;			/* enum account_result */
	uint32_t age_seconds;			/* how old the facts are */
	uint32_t ttl_seconds;			/* how long the worker may keep this answer */
	uint32_t reserved;
	struct account account;
	/* all zero unless enabled and neither expired nor protected nor not-delegated; always for CLAIM_USER and what is unproven: a name proves nothing */
	uint8_t voucher[VOUCHER_SIZE];
};

/* Who is in a group: its enabled accounts, nested groups' and those by their primary group too. One walk at a time for each asker. */
#define DIRECTORY_MEMBERS_MAX 100
struct directory_members {
	uint32_t group;		/* bit of struct account.groups */
	uint32_t begin;		/* 1: the first page; 0: the next one of the walk under way */
};
struct directory_member {
	char sid[ACCOUNT_SID_MAX];
	char name[ACCOUNT_TEXT_MAX];	/* UPN; sAMAccountName where there is none */
};
struct directory_member_page {
	uint32_t result;	/* ACCOUNT_FOUND; ACCOUNT_UNAVAILABLE: the walk has failed, and what came before is not all */
	uint32_t n;		/* the same account may come up more than once in a walk */
	uint32_t more;		/* 1: there are further pages, which may be empty */
	uint32_t cut;		/* 1: something was left out, such as too many nested groups */
	struct directory_member member[DIRECTORY_MEMBERS_MAX];
};

/* A name and a password as typed. The directory process overwrites its copies as soon as the attempt is over. */
struct directory_sign_in {
	char name[DIRECTORY_CLAIM_MAX];		/* "user", "user@domain" or "DOMAIN\\user" */
	/* AD took this password when pwdLastSet was this; as long as it still is, the attempt counts as a right one, and one that would lock the
	 * account is all that is refused. 0: not known to be right */
	int64_t right_at;
	uint32_t margin;	/* no attempt once badPwdCount >= facts_wrong_passwords(): see there; DIRECTORY_NO_MARGIN: whatever the count */
	uint32_t password_n;	/* 1 to DIRECTORY_PASSWORD_MAX bytes */
	char password[DIRECTORY_PASSWORD_MAX];
};

enum sign_in_result {
	SIGN_IN_UNAVAILABLE = 0,	/* nobody could say */
	SIGNED_IN,
	SIGN_IN_WRONG,			/* the password */
	SIGN_IN_UNKNOWN,		/* no such account, or more than one */
	SIGN_IN_DISABLED,
	SIGN_IN_EXPIRED,		/* the account */
	SIGN_IN_LOCKED,
	SIGN_IN_MUST_CHANGE,		/* the password was right, and is over or must be changed first */
	SIGN_IN_NOT_NOW,		/* outside the account's hours or workstations */
	SIGN_IN_GUARDED,		/* not tried: too near to the lock-out limit */
	SIGN_IN_RESULTS
};
const char *sign_in_result_text(uint32_t result);

struct directory_signed_in {
	uint32_t result;		/* enum sign_in_result */
	uint32_t tried;			/* 1: the password was compared by somebody */
	struct account account;		/* of whom the name is, also when the password was wrong; all zero when unknown. Never for the asker's client. */
};

enum directory_change {
	CHANGE_SEEN = 0,	/* facts are others now: what was known before is used by nobody any more, even if no server answers */
	CHANGE_MISSED,		/* nobody watched for a while: ask again; what was known serves only while no server answers */
};

/* sid "": every account. */
struct directory_changed {
	char sid[ACCOUNT_SID_MAX];
	uint32_t change;	/* enum directory_change; any other number is CHANGE_SEEN */
};

#endif
