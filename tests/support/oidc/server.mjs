// A real authorization server (oidc-provider) over TLS, for tests: tokens by refresh token, client
// credentials and RFC 7523 assertions, introspection (RFC 7662) and revocation (RFC 7009).
// Configured by the JSON file that is its only argument; tells what happens as JSON lines.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { errors, Provider } from 'oidc-provider';
import { importSPKI, jwtVerify } from 'jose';

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const SCOPE = 'mail offline_access';
const tell = (event, fields = {}) => console.log(
  JSON.stringify({ event, time: Date.now() / 1000, ...fields }),
);

const provider = new Provider(config.issuer, {
  clients: config.clients,
  scopes: ['mail', 'offline_access'],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
  },
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'],
  extraClientMetadata: { properties: ['mailbox'] },
  // What the mail server reads whose mailbox it is from: an application has one mailbox here.
  extraTokenClaims: async (ctx, token) => ({
    mail: token.accountId
      ?? (await provider.Client.find(token.clientId)).metadata().mailbox,
  }),
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  rotateRefreshToken: config.rotate,
  ttl: {
    AccessToken: config.lifetime,
    ClientCredentials: config.lifetime,
    RefreshToken: 86400,
    Grant: 86400,
  },
});

// The provider has no such grant of its own; checking the assertion is all that is added.
provider.registerGrantType(JWT_BEARER, async (ctx, next) => {
  const { client, params } = ctx.oidc;
  let claims;
  try {
    const key = await importSPKI(config.assertions.publicKey, 'RS256');
    ({ payload: claims } = await jwtVerify(params.assertion, key, {
      issuer: config.assertions.issuer,
      audience: `${config.issuer}/token`,
      algorithms: ['RS256'],
      requiredClaims: ['exp', 'iat', 'sub'],
    }));
  } catch (error) {
    throw new errors.InvalidGrant(error.code);
  }
  if (!config.accounts.includes(claims.sub)) throw new errors.InvalidGrant('unknown subject');
  const token = new provider.AccessToken({
    accountId: claims.sub, client, scope: claims.scope, gty: 'jwt_bearer',
  });
  ctx.body = {
    access_token: await token.save(), expires_in: token.expiration, token_type: 'Bearer',
  };
  await next();
}, ['assertion', 'scope']);

provider.use(async (ctx, next) => {
  await next();
  const { oidc } = ctx;
  tell(oidc?.route ?? ctx.path, {
    status: ctx.status,
    grant: oidc?.params?.grant_type,
    client: oidc?.client?.clientId,
    error: ctx.body?.error_description ?? ctx.body?.error,
    active: ctx.body?.active,
  });
});
provider.on('server_error', (ctx, error) => tell('server_error', { text: String(error.stack) }));

// As if these users had given their consent in a browser before.
const refreshTokens = {};
for (const [accountId, clientId] of config.consents) {
  const grant = new provider.Grant({ accountId, clientId });
  grant.addOIDCScope(SCOPE);
  const token = new provider.RefreshToken({
    accountId,
    client: await provider.Client.find(clientId),
    grantId: await grant.save(),
    gty: 'authorization_code',
    scope: SCOPE,
  });
  refreshTokens[`${accountId} ${clientId}`] = await token.save();
}

const tls = { cert: readFileSync(config.certificate), key: readFileSync(config.key) };
createServer(tls, provider.callback())
  .listen(config.port, config.host, () => tell('ready', { refreshTokens }));
