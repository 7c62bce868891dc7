# A PostgreSQL of its own in a temporary folder, until standard input ends, with `restart` as the
# one order that can come there: it goes whatever becomes
# of the test that started it. Prints the folder of its socket once it answers. Arguments: the folder
# of PostgreSQL's programs.
set -eu
PATH="$1:$PATH"
folder=$(mktemp -d /tmp/ehi-postgres.XXXXXX)
cleanup() {
  pg_ctl --pgdata="$folder/data" --mode=immediate stop >/dev/null 2>&1 || true
  rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
initdb --pgdata=data --auth=trust --no-sync --username=postgres --encoding=UTF8 --no-locale >initdb.log 2>&1 || { cat initdb.log >&2; exit 1; }
# The server must not inherit our output, whose end tells the test that we are gone.
pg_ctl --pgdata=data --wait --log=server.log --options="-k $folder -c listen_addresses= -c fsync=off -c max_connections=50" start >/dev/null 2>&1 </dev/null || { cat server.log >&2; exit 1; }
echo "$folder"
while read -r order; do
  case "$order" in
    restart)
      # As if its machine had lost power: nothing is finished, everything is recovered.
      pg_ctl --pgdata=data --wait --mode=immediate --log=server.log restart >/dev/null 2>&1 </dev/null || { cat server.log >&2; exit 1; }
      echo restarted
      ;;
  esac
done
