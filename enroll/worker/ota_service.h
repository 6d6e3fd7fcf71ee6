/*
 * ota_service: the over-the-air profile service for Apple's devices: a device says who it is with its built-in certificate (phase 1), gets
 * a certificate of ours by SCEP (phase 2), and with that its profile, encrypted to it (phase 3). On where enroll.apple.device_cas_file is set.
 * Each phase is bound to the one before: the secret to a device of the registry, its UDID and our certificate to that device. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_OTA_SERVICE_H
#define EASGATE_ENROLL_OTA_SERVICE_H

#include "enroll/worker/route.h"

struct ota_service;

/* The first profile of all is made by apple_offer() (APPLE_OFFER_SERVICE) where this is true; else devices get the whole one. */
bool ota_service_is_on(const struct enroll_worker *w);
/* Reads the file from w->files. NULL: out of memory. */
struct ota_service *ota_service_new(struct enroll_worker *w);
/* What is under way gets no answer. Accepts NULL. */
void ota_service_free(struct ota_service *s);

/* POST OTA_PATH; finds its struct ota_service in w->ota. */
extern const struct route ota_routes[];

#endif
