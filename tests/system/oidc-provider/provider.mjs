// A real OpenID Connect provider on loopback, for the whole-system tests.
//
// Its one argument is JSON: {port, clients, accounts}. An account's name is its login; any password
// will do; its value are its claims. When it is ready it prints its issuer.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const { port = 0, clients, accounts } = JSON.parse(process.argv[2]);

const server = createServer();
server.listen(port, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients,
    claims: { openid: ['sub'], profile: ['preferred_username', 'groups', 'fhir_patient'] },
    // So that the claims of a scope are in the ID token.
    conformIdTokenClaims: false,
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, ...accounts[id] }),
    }),
    cookies: { keys: ['only for tests'] },
    features: { devInteractions: { enabled: true } },
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
