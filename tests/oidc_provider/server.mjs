// A certified OpenID provider on loopback, for the tests in main.rs. It reads its clients as JSON from the
// environment, prints its issuer as one line, and ends with its standard input.
import { createServer } from 'node:http';

import Provider, { errors } from 'oidc-provider';

// The library warns about development settings; only the first line is read.
console.info = console.warn = console.error;

const settings = JSON.parse(process.env.SETTINGS);
const server = createServer();
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const issuer = `http://127.0.0.1:${server.address().port}`;

const resource = `${issuer}/me`;
const provider = new Provider(issuer, {
  clients: settings.clients,
  cookies: { keys: ['key'] },
  scopes: ['openid', 'offline_access', 'api:read'],
  pkce: { required: () => true },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  // Every client may keep a grant, also without the scope offline_access.
  issueRefreshToken: async (_, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: true,
  assertJwtClientAuthClaimsAndHeader: async (_, claims, header, client) => {
    // Stricter than the default, which accepts the token endpoint as well.
    if (claims.aud !== issuer) throw new errors.InvalidClientAuth('audience is not the issuer');
  },
  ttl: {
    AccessToken: () => settings.accessTokenSeconds ?? 3600,
    ClientCredentials: () => settings.accessTokenSeconds ?? 3600,
    DeviceCode: 600,
    Grant: 86400,
    Interaction: 600,
    RefreshToken: 86400,
    Session: 86400,
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    dPoP: {
      enabled: true,
      nonceSecret: Buffer.alloc(32, 1),
      requireNonce: () => settings.dpopNonce ?? false,
    },
    introspection: { enabled: true },
    pushedAuthorizationRequests: {
      enabled: true,
      requirePushedAuthorizationRequests: settings.requirePar ?? false,
    },
    resourceIndicators: { enabled: false },
    revocation: { enabled: true },
    userinfo: { enabled: true },
  },
});

// Signs the only user in, and lets it consent to everything.
async function interact(request, response) {
  const { prompt, params, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    const result = { login: { accountId: 'user' } };
    return provider.interactionFinished(request, response, result);
  }
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: 'user', clientId: params.client_id });
  grant.addOIDCScope(params.scope ?? 'openid');
  const consent = { grantId: await grant.save() };
  return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
}

const handle = provider.callback();
server.on('request', (request, response) => {
  if (request.url.startsWith('/interaction/')) {
    interact(request, response).catch((error) => {
      response.writeHead(500).end(String(error));
    });
  } else {
    handle(request, response);
  }
});
provider.on('server_error', (_, error) => console.error(error));

console.log(issuer);
process.stdin.resume().on('end', () => process.exit());
