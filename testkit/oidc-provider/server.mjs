// The certified OpenID provider `oidc-provider`, with a login that a test scripts.
//
// Arguments: the library's main file, and the clients as JSON. It listens on a free port of
// loopback and says `issuer URL`. More clients are posted as JSON to /clients. Who is signed in
// is posted as JSON to /scripted: subject, claims, can (classes that are reached when asked for),
// acr and amr (of a plain login), and pages: whether a person in a browser goes through pages of
// login and consent, which are left out otherwise.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

const [library, clients] = process.argv.slice(2);
const { default: Provider, errors } = await import(pathToFileURL(library).href);
const { default: Kept } = await import(new URL('adapters/memory_adapter.js', pathToFileURL(library)).href);

let somebody = { subject: 'nobody', claims: {}, can: [], acr: 'pwd', amr: ['pwd'], pages: false };
const asked = [];

const key = (kid, alg, pair) => ({ ...pair.privateKey.export({ format: 'jwk' }), kid, alg, use: 'sig' });
const keys = [
  key('ec', 'ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' })),
  key('rsa', 'RS256', generateKeyPairSync('rsa', { modulusLength: 2048 })),
];

const server = createServer();
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: JSON.parse(clients),
  jwks: { keys },
  acrValues: ['pwd', 'urn:example:mfa', 'phr'],
  claims: {
    openid: ['sub', 'sid', 'amr', 'groups'],
    profile: ['name', 'preferred_username'],
    email: ['email', 'email_verified'],
  },
  // What nobody signs is not asked, so names and groups stand in the ID token.
  conformIdTokenClaims: false,
  cookies: { keys: ['a throwaway provider has no secrets'] },
  features: {
    devInteractions: { enabled: false },
    claimsParameter: { enabled: true },
    pushedAuthorizationRequests: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: {
      enabled: true,
      logoutSource: (ctx, form) => {
        const button = '<button form="op.logoutForm" name="logout" value="yes">Sign out</button>';
        ctx.body = page('Sign out', `${form}${button}`);
      },
      postLogoutSuccessSource: (ctx) => { ctx.body = page('Signed out', ''); },
    },
  },
  findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, ...somebody.claims }) }),
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  renderError: (ctx, out) => { ctx.type = 'json'; ctx.body = out; },
});

// The class to log in with: one that is asked for and reached. None, if an essential one is not.
function reached(parameters) {
  const essential = parameters.claims ? JSON.parse(parameters.claims).id_token?.acr?.values ?? [] : [];
  const wanted = [...essential, ...(parameters.acr_values ?? '').split(' ')];
  const found = wanted.find((one) => somebody.can.includes(one));
  if (found) return { acr: found, amr: ['pwd', 'otp', 'mfa'] };
  return essential.length > 0 ? undefined : { acr: somebody.acr, amr: somebody.amr };
}

function page(title, content) {
  return `<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${title}</title><h1>${title}</h1>${content}`;
}

// What a person sees who logs in, and who lets the client know who they are.
async function ask(request, response) {
  const { prompt, params } = await provider.interactionDetails(request, response);
  const content = {
    login: '<label>Name <input name="login" required></label> <button name="do" value="login">Log in</button>',
    consent: `<p>For ${encodeURIComponent(params.client_id)}</p> <button name="do" value="allow">Allow</button>`,
  };
  response.setHeader('content-type', 'text/html');
  response.end(page(`Certified: ${prompt.name}`, `<form method="post">${content[prompt.name]}</form>`));
}

async function finish(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  let result;
  if (prompt.name === 'login') {
    const login = reached(params);
    result = login
      ? { login: { accountId: somebody.subject, ...login } }
      : { error: 'unmet_authentication_requirements', error_description: 'the person does not reach that class' };
  } else {
    const grant = grantId
      ? await provider.Grant.find(grantId)
      : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    grant.addOIDCClaims(prompt.details.missingOIDCClaims ?? []);
    result = { consent: { grantId: await grant.save() } };
  }
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}

const callback = provider.callback();
server.on('request', (request, response) => {
  const path = request.url.split('?')[0];
  const failed = (error) => {
    response.statusCode = 500;
    response.end(`${error.stack}`);
  };
  if (path === '/scripted' && request.method === 'POST') {
    body(request).then((text) => {
      somebody = { ...somebody, ...JSON.parse(text) };
      response.end();
    }).catch(failed);
  } else if (path === '/clients' && request.method === 'POST') {
    body(request).then((text) => {
      const client = JSON.parse(text);
      return new Kept('Client').upsert(client.client_id, client);
    }).then(() => response.end()).catch(failed);
  } else if (path === '/asked') {
    response.end(JSON.stringify(asked));
  } else if (path.startsWith('/interaction/') && somebody.pages && request.method === 'GET') {
    ask(request, response).catch(failed);
  } else if (path.startsWith('/interaction/')) {
    finish(request, response).catch(failed);
  } else {
    callback(request, response);
  }
});
provider.on('authorization.success', (ctx) => asked.push(ctx.oidc.params));
for (const event of ['server_error', 'grant.error', 'authorization.error', 'pushed_authorization_request.error', 'backchannel.error']) {
  provider.on(event, (_, error) => console.error(event, error instanceof errors.OIDCProviderError ? error.error_description ?? error.message : error));
}
console.log(`issuer ${issuer}`);
