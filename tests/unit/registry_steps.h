/*
 * registry_steps: SQL that makes a registry's file look as older programs left it. For the tests of what brings it up to date.
 */
#ifndef EASGATE_TESTS_REGISTRY_STEPS_H
#define EASGATE_TESTS_REGISTRY_STEPS_H

#define AS_STEP_1 "DROP INDEX devices_serial; DROP INDEX devices_udid; " AS_STEP_2 "PRAGMA user_version=1"
#define AS_STEP_2 AS_STEP_3 "DROP TRIGGER accounts_counted; DROP TRIGGER devices_counted; DROP TRIGGER devices_counted_anew; DROP TRIGGER certificates_counted;" \
	"DROP TRIGGER certificates_counted_anew; DROP TABLE counts; PRAGMA user_version=2;"
/* what step 4 changes in its place stays: it is dropped and made anew */
#define AS_STEP_3 "CREATE TRIGGER certificates_counted AFTER INSERT ON certificates BEGIN" \
	" UPDATE counts SET n = n + 1 WHERE kind = 'certificates' AND state = NEW.state; END; DROP INDEX secrets_unused;" \
	"CREATE INDEX secrets_of ON secrets(account, used, ends);"

#endif
