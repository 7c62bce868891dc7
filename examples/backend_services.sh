#!/bin/sh
# A hospital's own system takes a record out by SMART Backend Services, with nothing but openssl
# and curl: it makes a key, registers it with a demo, signs an assertion, gets a token and exports.
#
#   examples/backend_services.sh register > my-system.toml    # makes backend-services.pem
#   ehi-server demo --client my-system.toml                   # in another terminal
#   examples/backend_services.sh export PATIENT_ID            # a patient of the demo
set -eu

key=backend-services.pem
base=${EHI_BASE:-http://127.0.0.1:8888}
client=my-system

base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

# The public half of the key as a JWK. Of 2048 bits, the modulus is in bytes 34 to 289 of the DER;
# openssl's exponent is 65537, "AQAB".
register() {
  [ -e "$key" ] || (umask 077 && openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$key" 2>/dev/null)
  n=$(openssl pkey -in "$key" -pubout -outform DER | tail -c +34 | head -c 256 | base64url)
  cat <<TOML
[[client]]
id = "$client"
name = "My system"
token_endpoint_auth_method = "private_key_jwt"
scopes = ["system/\$ehi-export"]
jwks = { keys = [{ kty = "RSA", kid = "1", n = "$n", e = "AQAB" }] }
TOML
}

# A JWT that says who asks, for whom it is, and that ends in two minutes; each may be used once.
assertion() {
  header=$(printf '{"alg":"RS384","typ":"JWT","kid":"1"}' | base64url)
  claims=$(printf '{"iss":"%s","sub":"%s","aud":"%s/auth/token","exp":%s,"jti":"%s"}' \
    "$client" "$client" "$base" "$(($(date +%s) + 120))" "$(openssl rand -hex 16)" | base64url)
  signature=$(printf '%s.%s' "$header" "$claims" | openssl dgst -sha384 -sign "$key" -binary | base64url)
  printf '%s.%s.%s' "$header" "$claims" "$signature"
}

export_record() {
  token=$(curl -sSf "$base/auth/token" -d grant_type=client_credentials \
    --data-urlencode 'scope=system/$ehi-export' \
    -d client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer \
    -d client_assertion="$(assertion)" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  # The demo lets exports go without review when asked like this; elsewhere it is $base/fhir.
  status=$(curl -sSf -X POST -D - -o /dev/null -H "Authorization: Bearer $token" \
    "$base/auto-approve/fhir/Patient/$1/\$ehi-export" | tr -d '\r' | sed -n 's/^content-location: //p')
  while [ "$(curl -sS -o manifest.json -w '%{http_code}' -H "Authorization: Bearer $token" "$status")" = 202 ]; do
    sleep 1
  done
  cat manifest.json
}

case "${1:-}" in
  register) register ;;
  export) export_record "${2:?whose record: a patient id}" ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
