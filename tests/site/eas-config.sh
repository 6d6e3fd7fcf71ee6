# eas-config.sh: the configuration of the ActiveSync server's parts: PostgreSQL, Dovecot (2.3 and 2.4), SOGo, nginx.
# Sourced by eas-server, which sets DIR, DOMAIN, U (the user all runs as) and the ports. Starts nothing.

make_config() {
    local d
    for d in . home run run/dovecot mail lib lib/dovecot log spool ngx tls; do
        install -d -o $U -g $U -m 755 "$DIR/$d"; done
    touch "$DIR/log/dovecot.log"
    if dovecot --version | grep -q '^2\.3'; then dovecot_23; else dovecot_24; fi >"$DIR/dovecot.conf"
    dovecot_common >>"$DIR/dovecot.conf"
    sogod_command >"$DIR/run-sogod"; chmod 755 "$DIR/run-sogod"
    server_certificate
    nginx_config >"$DIR/nginx.conf"
    chown -R $U:$U "$DIR"/{log,home,tls,dovecot.conf,run-sogod,nginx.conf}
}

postgres_config() { cat <<E
listen_addresses = '127.0.0.1'
port = $PG_PORT
unix_socket_directories = '$DIR/run'
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = 16MB
max_connections = 200
E
}

database_schema() {     # the users; and three tables that SOGo's workers would race each other to make
    cat <<E
create table sogo_users (c_uid varchar primary key, c_name varchar, c_password varchar, c_cn varchar, mail varchar);
insert into sogo_users values ('alice', 'alice', 'alicepw', 'Alice Example', 'alice@$DOMAIN'),
 ('bob', 'bob', 'bobpw', 'Bob Example', 'bob@$DOMAIN');
create table sogo_folder_info (c_folder_id serial not null, c_path varchar(255) primary key,
 c_path1 varchar(255) not null, c_path2 varchar(255), c_path3 varchar(255), c_path4 varchar(255),
 c_foldername varchar(255) not null, c_location varchar(2048), c_quick_location varchar(2048),
 c_acl_location varchar(2048), c_folder_type varchar(255) not null);
create table sogo_sessions_folder (c_id varchar(255) primary key, c_value varchar(4096) not null,
 c_creationdate int not null, c_lastseen int not null);
create table sogo_user_profile (c_uid varchar(255) primary key, c_defaults text, c_settings text);
E
}

# Any password: SOGo has none to pass on when the user came from a proxy's header.
dovecot_23() { cat <<E
disable_plaintext_auth = no
protocols = imap
mail_location = maildir:$DIR/mail/%n/Maildir
mail_home = $DIR/mail/%n
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = static
  args = uid=$U gid=$U home=$DIR/mail/%n
}
E
}

dovecot_24() { cat <<E
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
auth_allow_cleartext = yes
protocols {
  imap = yes
}
mail_driver = maildir
mail_home = $DIR/mail/%{user | username}
mail_path = $DIR/mail/%{user | username}/Maildir
passdb static {
  fields {
    nopassword = yes
  }
}
userdb static {
  fields {
    uid = $U
    gid = $U
    home = $DIR/mail/%{user | username}
  }
}
E
}

dovecot_common() {
    cat <<E
base_dir = $DIR/run/dovecot
state_dir = $DIR/lib/dovecot
instance_name = $(basename "$DIR")
log_path = $DIR/log/dovecot.log
ssl = no
listen = 127.0.0.1
default_internal_user = $U
default_internal_group = $U
default_login_user = $U
mail_uid = $U
mail_gid = $U
first_valid_uid = 1
mailbox_list_index = yes
postmaster_address = postmaster@$DOMAIN
service imap-login {
  chroot =
  inet_listener imap {
    port = $IMAP_PORT
  }
  inet_listener imaps {
    port = 0
  }
}
service anvil {
  chroot =
}
service auth {
  chroot =
}
service stats {
  chroot =
}
namespace inbox {
  inbox = yes
  separator = /
E
    local m
    for m in Drafts Sent Trash Junk; do
        printf '  mailbox %s {\n    auto = create\n    special_use = \\%s\n  }\n' $m $m; done
    echo "}"
}

sogod_command() {   # arguments beat /etc/sogo/sogo.conf, which the package fills with settings that do not fit
    local pg=postgresql://sogo@127.0.0.1:$PG_PORT/sogo
    cat <<E
#!/bin/bash
# run-sogod NAME PORT TRUST: with TRUST, SOGo believes any password, hence two of them
exec /usr/sbin/sogod -WOUseWatchDog YES -WOPidFile $DIR/run/\$1.pid -WOLogFile $DIR/log/\$1.log \\
 -WOPort 127.0.0.1:\$2 -SOGoTrustProxyAuthentication \$3 -WOWorkersCount ${EAS_WORKERS:-6} \\
 -WOListenQueueSize 64 -WOWatchDogRequestTimeout 30 -SxVMemLimit 512 \\
 -SOGoProfileURL $pg/sogo_user_profile -OCSFolderInfoURL $pg/sogo_folder_info \\
 -OCSSessionsFolderURL $pg/sogo_sessions_folder -OCSEMailAlarmsFolderURL $pg/sogo_alarms_folder \\
 -SOGoUserSources '({type=sql;id=users;isAddressBook=YES;displayName=Users;canAuthenticate=YES;userPasswordAlgorithm=plain;viewURL="$pg/sogo_users";})' \\
 -SOGoTimeZone UTC -SOGoLanguage English -SOGoMailDomain $DOMAIN -SOGoMailingMechanism smtp \\
 -SOGoSMTPServer smtp://127.0.0.1:$SMTP_PORT/ -SOGoIMAPServer imap://127.0.0.1:$IMAP_PORT/ \\
 -SOGoMailSpoolPath $DIR/spool -SOGoSentFolderName Sent -SOGoTrashFolderName Trash \\
 -SOGoDraftsFolderName Drafts -SOGoJunkFolderName Junk -SOGoMemcachedHost 127.0.0.1:$MC_PORT \\
 -SOGoMaximumPingInterval ${EAS_PING_MAX:-60} -SOGoMaximumSyncInterval ${EAS_PING_MAX:-60} \\
 -SOGoInternalSyncInterval 5 -SOGoMaximumSyncWindowSize 100
E
}

server_certificate() {
    [ ! -f "$DIR/tls/server.crt" ] || return 0
    ( cd "$DIR/tls"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=EAS test CA" \
        -addext basicConstraints=critical,CA:true -keyout ca.key -out ca.crt
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout server.key \
        -out server.csr
    printf 'subjectAltName=DNS:localhost,DNS:eas.%s,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' $DOMAIN >server.ext
    openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3000 -out server.crt \
        -extfile server.ext ) >"$DIR/log/tls.log" 2>&1
}

nginx_config() {
    local common="proxy_http_version 1.1; proxy_read_timeout 3600s; proxy_buffering off; client_max_body_size 0;
      proxy_set_header Host \$host; proxy_set_header x-webobjects-server-protocol HTTP/1.1;
      proxy_set_header x-webobjects-remote-host \$remote_addr;
      proxy_set_header x-webobjects-server-name \$server_name;
      proxy_set_header x-webobjects-server-port \$server_port;
      proxy_set_header x-webobjects-server-url \$scheme://\$http_host;
      proxy_set_header x-webobjects-auth-type \"\";"
    local eas=/SOGo/Microsoft-Server-ActiveSync
    local basic="location /Microsoft-Server-ActiveSync { $common
      proxy_set_header x-webobjects-remote-user \"\"; proxy_pass http://127.0.0.1:$SOGO_PORT$eas; }"
    local trust="location /Microsoft-Server-ActiveSync { $common
      proxy_set_header x-webobjects-remote-user \$http_x_eas_user; proxy_set_header Authorization \"\";
      proxy_pass http://127.0.0.1:$SOGOT_PORT$eas; }"
    local tls="ssl_certificate $DIR/tls/server.crt; ssl_certificate_key $DIR/tls/server.key;"
    cat <<E
daemon on;
pid $DIR/run/nginx.pid;
worker_processes 1;
error_log $DIR/log/nginx-error.log info;
events { worker_connections 512; }
http {
  log_format eas '\$server_port "\$request" \$status \$body_bytes_sent ua="\$http_user_agent"'
    ' auth="\$http_authorization" user="\$http_x_eas_user" v="\$http_ms_asprotocolversion" \$request_time';
  access_log $DIR/log/nginx-access.log eas;
  client_body_temp_path $DIR/ngx/b; proxy_temp_path $DIR/ngx/p;
  fastcgi_temp_path $DIR/ngx/f; uwsgi_temp_path $DIR/ngx/u; scgi_temp_path $DIR/ngx/s;
  server { listen 127.0.0.1:$HTTP_PORT; server_name localhost; $basic }
  server { listen 127.0.0.1:$TRUST_PORT; server_name localhost; $trust }
  server { listen 127.0.0.1:$TLS_PORT ssl; server_name localhost; $tls $basic }
  server { listen 127.0.0.1:$TLST_PORT ssl; server_name localhost; $tls $trust }
}
E
}
