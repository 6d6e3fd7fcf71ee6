# ad-config.sh: the files that the test domain is made of: certificates, Samba's, Kerberos' and httpd's configuration.
# Sourced by ad-testbed, which sets D (the bed's directory), ADDR, REALM, DOMAIN and DNS. Starts nothing.

make_certificates() {   # Samba would make itself an RSA 4096 one without any alternative name
    mkdir -p "$D/tls"; ( cd "$D/tls"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 3650 \
        -subj "/DC=example/DC=corp/CN=Test Bed CA" -addext basicConstraints=critical,CA:true \
        -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
    local n names
    for n in dc1 mail; do
        names=DNS:$n.$DNS,DNS:$n,IP:$ADDR
        [ $n = mail ] && names=$names,DNS:mail2.$DNS || names=$names,DNS:dc2.$DNS,IP:127.0.0.2
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $n.key -out $n.csr \
            -subj "/CN=$n.$DNS" 2>/dev/null
        printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:false\n' $names >$n.ext
        openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile $n.ext \
            -out $n.pem 2>/dev/null
    done
    chmod 600 ./*.key )
}

make_config() {
    chmod 755 "$D"
    mkdir -p "$D/run/httpd" "$D/log" "$D/keytabs" "$D/mail/htdocs" "$D/rcache"
    chown www-data "$D/rcache"
    # dc2 is a second name and address of the same controller: a relay of the test's own stands there
    printf '%s %s\n' "$ADDR" "dc1.$DNS dc1" 127.0.0.2 "dc2.$DNS dc2" "$ADDR" "mail.$DNS mail mail2.$DNS" \
        "$ADDR" "proxy.$DNS proxy" 127.0.0.1 localhost >"$D/hosts"
    samba_config >"$D/smb.conf"
    krb5_config >"$D/krb5.conf"
    httpd_config >"$D/httpd.conf"
    mail_script >"$D/mail/eas"; chmod 755 "$D/mail/eas"
    [ -p "$D/mail/wake" ] || mkfifo "$D/mail/wake"; chown www-data "$D/mail/wake"
    echo healthy >"$D/mail/htdocs/healthcheck.htm"
}

samba_config() { cat <<E
[global]
	netbios name = DC1
	workgroup = $DOMAIN
	realm = $REALM
	server role = active directory domain controller
	private dir = $D/samba/private
	lock directory = $D/samba
	state directory = $D/samba/state
	cache directory = $D/samba/cache
	binddns dir = $D/samba/bind-dns
	pid directory = $D/run
	ncalrpc dir = $D/run/ncalrpc
	winbindd socket directory = $D/run/winbindd
	ntp signd socket directory = $D/run/ntp_signd
	log file = $D/log/samba.%m
	log level = ${AD_LOG:-1 auth_audit:3}
	debug timestamp = yes
	interfaces = $ADDR/8
	bind interfaces only = yes
	disable netbios = yes
	server services = ldap cldap kdc dns
	dns forwarder =
	tls enabled = yes
	tls keyfile = $D/tls/dc1.key
	tls certfile = $D/tls/dc1.pem
	tls cafile = $D/tls/ca.pem
	ldap server require strong auth = allow_sasl_over_tls
[sysvol]
	path = $D/samba/state/sysvol
	read only = no
[netlogon]
	path = $D/samba/state/sysvol/$DNS/scripts
	read only = no
E
}

krb5_config() {   # one file for MIT (clients) and Heimdal (samba); without forwardable S4U2Proxy has nothing to show
    cat <<E
[libdefaults]
	default_realm = $REALM
	dns_lookup_realm = false
	dns_lookup_kdc = false
	dns_canonicalize_hostname = false
	rdns = false
	forwardable = true
	udp_preference_limit = 1
[realms]
	$REALM = {
		kdc = $ADDR
		admin_server = $ADDR
		kpasswd_server = $ADDR
	}
[domain_realm]
	.$DNS = $REALM
	$DNS = $REALM
E
}

mail_script() {   # tells who asked; a Ping waits until somebody writes a line to mail/wake, at most 55 s
    cat <<E
#!/bin/bash
n=\${CONTENT_LENGTH:-0}; [ "\$n" -eq 0 ] || head -c "\$n" >/dev/null
case "&\$QUERY_STRING&" in *'&Cmd=Ping&'*) read -r -t 55 <>$D/mail/wake;; esac
printf 'Content-Type: text/plain\r\nMS-Server-ActiveSync: 15.1\r\nMS-ASProtocolVersions: 14.1,16.0,16.1\r\n'
printf 'MS-ASProtocolCommands: Sync,Ping,FolderSync\r\n\r\n'
printf 'REMOTE_USER=%s\nAUTH_TYPE=%s\nMETHOD=%s\nQUERY=%s\nBODY=%s\nREMOTE_PORT=%s\n' \\
    "\${REMOTE_USER-}" "\${AUTH_TYPE-}" "\$REQUEST_METHOD" "\${QUERY_STRING-}" "\$n" "\$REMOTE_PORT"
E
}

httpd_config() { cat <<E
ServerRoot $D/mail
ServerName mail.$DNS
PidFile $D/httpd.pid
DefaultRuntimeDir $D/run/httpd
Mutex file:$D/run/httpd default
Listen $ADDR:80
Listen $ADDR:443
$(for m in mpm_event authn_core authz_core authz_user auth_gssapi mime alias env cgid ssl; do
    echo "LoadModule ${m}_module /usr/lib/apache2/modules/mod_$m.so"; done)
ScriptSock $D/run/httpd/cgid.sock
TypesConfig /etc/mime.types
DocumentRoot $D/mail/htdocs
User www-data
Group www-data
StartServers 1
ThreadsPerChild 32
MaxRequestWorkers 64
KeepAliveTimeout 15
PassEnv KRB5_CONFIG
LogLevel warn auth_gssapi:info
ErrorLog $D/log/httpd-error.log
LogFormat "{\"user\":\"%u\",\"request\":\"%r\",\"status\":%>s,\"bytes\":%B,\"port\":%{remote}p}" json
CustomLog $D/log/httpd-access.log json
Alias /Microsoft-Server-ActiveSync/healthcheck.htm $D/mail/htdocs/healthcheck.htm
ScriptAlias /Microsoft-Server-ActiveSync $D/mail/eas
ScriptAlias /Autodiscover/Autodiscover.xml $D/mail/eas
ScriptAlias /bound/Microsoft-Server-ActiveSync $D/mail/eas
ScriptAlias /basic/Microsoft-Server-ActiveSync $D/mail/eas
<Directory $D/mail>
	Require all granted
</Directory>
# one token for each request, as IIS does for Kerberos by default
<LocationMatch "^/(bound/)?(Microsoft-Server-ActiveSync|Autodiscover/Autodiscover.xml)">
	AuthType GSSAPI
	AuthName mail
	GssapiCredStore keytab:$D/keytabs/mail.keytab
	GssapiAllowedMech krb5
	Require valid-user
</LocationMatch>
# here the first token authenticates the whole connection: what a proxy must never share between users
<Location /bound/>
	GssapiConnectionBound On
</Location>
# passwords, checked by the KDC and counted there: what phones did before
<LocationMatch "^/basic/Microsoft-Server-ActiveSync">
	AuthType GSSAPI
	AuthName mail
	GssapiCredStore keytab:$D/keytabs/mail.keytab
	GssapiAllowedMech krb5
	GssapiBasicAuth On
	Require valid-user
</LocationMatch>
<Location /Microsoft-Server-ActiveSync/healthcheck.htm>
	AuthType None
	Require all granted
</Location>
<VirtualHost $ADDR:443>
	ServerName mail.$DNS
	SSLEngine on
	SSLCertificateFile $D/tls/mail.pem
	SSLCertificateKeyFile $D/tls/mail.key
</VirtualHost>
E
}
