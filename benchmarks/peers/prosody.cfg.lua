-- Prosody as its defaults have it, and what a workload needs beside.
pidfile = "@folder@/prosody.pid"
data_path = "@folder@/data"
certificates = "@folder@/certs"
plugin_paths = { "@root@/tests/interop/prosody_modules" }
modules_enabled = {
  "disco"; "roster"; "saslauth"; "tls"; "blocklist"; "carbons"; "pep"; "private"; "vcard4"; "vcard_legacy";
  "ping"; "time"; "uptime"; "version"; "smacks"; "csi_simple"; "limits"; "dialback"; "hosts_for_tests"; @archive@
}
c2s_require_encryption = true
s2s_require_encryption = true
s2s_secure_auth = true
limits = {}
archive_expires_after = "never"
c2s_ports = { @port@ }
c2s_interfaces = { "127.0.0.1" }
c2s_direct_tls_ports = {}
s2s_ports = { @s2s@ }
s2s_interfaces = { "127.0.0.1" }
http_ports = {}
https_ports = {}
hosts_for_tests = { @hosts@ }
authentication = "internal_hashed"
password_hash = "SHA-256"
storage = "internal"
network_backend = "epoll"
log = { warn = "@folder@/prosody.log" }
ssl = { key = "@folder@/certs/@domain@.key"; certificate = "@folder@/certs/@domain@.crt"; cafile = "@folder@/certs/ca.crt" }
VirtualHost "@domain@"
Component "rooms.@domain@" "muc"
  modules_enabled = { @rooms@ }
