/*
 * health: what operators and their tools ask: /healthz /readyz /metrics on the admin listener and the local socket. Changes nothing. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_HEALTH_H
#define EASGATE_ENROLL_HEALTH_H

#include "enroll/worker/worker.h"

extern const struct route health_routes[];

#endif
