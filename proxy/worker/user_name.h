/*
 * user_name: whether the name that a request gives (User=, or the address of an Autodiscover request) is the account's. Pure: says when
 * the directory has to be asked, and reads its answer.
 *
 * What devices write, and whose name it is in Active Directory (MS-ADTS 5.1.1.1.1; percent-encoding and the base64 query are undone before):
 *   ""             nobody's: identity never came from here
 *   user           the account with that sAMAccountName
 *   DOMAIN\user    the same in that domain, by its short or its DNS name; "\user" is read as "user"
 *   user@suffix    the account with that userPrincipalName; if nobody has it and the suffix is the domain, that sAMAccountName; if that is
 *                  nobody too, the account with that address in mail or proxyAddresses
 * So an address is taken as it stands only where it is the account's own UPN. Any other may be somebody else's UPN, also when it is this
 * account's mail: then the directory says whose it is, asked twice at most. The part before the '@' alone is no name, and neither is one
 * with another domain. Letters compare without case in ASCII; all else byte by byte, so that a look-alike is another name.
 */
#ifndef EASGATE_USER_NAME_H
#define EASGATE_USER_NAME_H

#include "common/directory/claim_kind.h"
#include "proxy/worker/account.h"

enum user_name {
	USER_OTHER = 0,		/* not this account's */
	USER_OWN,
	USER_ASK_LOGIN,		/* ask for CLAIM_USER, then user_name_found() */
	USER_ASK_ADDRESS,	/* ask for CLAIM_EMAIL, then user_name_found() */
};

enum user_name user_name_judge(const struct account_view *account, struct strv user);
/* The directory's answer to what was asked last: its result, and the SID found. */
enum user_name user_name_found(const struct account_view *account, enum user_name asked, enum account_result result, const char *sid);

/*
 * Whether the configuration means this account by `user`. The administrator's word needs no proof: each spelling above counts, the mail
 * address and user@domain too, without asking. "": nobody.
 */
bool user_name_configured(const struct account_view *account, struct strv user);

#endif
