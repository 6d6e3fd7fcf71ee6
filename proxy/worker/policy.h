/*
 * policy: facts in, one verdict out. Pure: no I/O, no clock of its own, no allocation.
 */
#ifndef EASGATE_POLICY_H
#define EASGATE_POLICY_H

#include "common/directory/ask.h"
#include "proxy/settings.h"
#include "proxy/worker/account.h"
#include "proxy/worker/request.h"

/*
 * May this account make this request? FACT_NONE lets it on. `now`: seconds since the epoch.
 * `kerberos`: a ticket will be needed in the account's name. *detail: static text for the log, or NULL.
 * A User= of which only the directory can say whose it is passes here: session_check_user() asks.
 */
enum fact policy_decide(const struct policy_settings *policy, const struct account_view *account,
    const struct eas_request *request, bool kerberos, time_t now, const char **detail);

#endif
