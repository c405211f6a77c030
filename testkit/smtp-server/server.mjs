// A mail server that keeps what it gets: the library `smtp-server`, which others wrote.
//
// Arguments: the library's main file, and JSON: `key` and `cert` (PEM) for TLS, `secure` for TLS from the first
// byte, `offers` (whether STARTTLS is offered), `user` and `pass` of the one account, `refuses` (an address that
// is refused for good). It listens on a free port of loopback and says `smtp PORT`, and `mail JSON` for each mail.
import { createRequire } from 'node:module';

const [library, told] = process.argv.slice(2);
const { SMTPServer } = createRequire(import.meta.url)(library);
const { key, cert, secure, offers, user, pass, refuses } = JSON.parse(told);

const server = new SMTPServer({
  key, cert, secure,
  hideSTARTTLS: !offers,
  disabledCommands: offers || secure ? [] : ['STARTTLS'],
  authOptional: !user,
  onAuth: (auth, session, done) =>
    auth.username === user && auth.password === pass ? done(null, { user }) : done(new Error('no such account')),
  onRcptTo: (address, session, done) => {
    if (address.address !== refuses) return done();
    done(Object.assign(new Error(`<${address.address}> is nobody here`), { responseCode: 550 }));
  },
  onData: (stream, session, done) => {
    const parts = [];
    stream.on('data', (part) => parts.push(part));
    stream.on('end', () => {
      const mail = {
        from: session.envelope.mailFrom.address,
        to: session.envelope.rcptTo.map((one) => one.address),
        secure: session.secure,
        user: session.user ?? '',
        hello: session.hostNameAppearsAs,
        text: Buffer.concat(parts).toString('utf8'),
      };
      console.log(`mail ${JSON.stringify(mail)}`);
      done();
    });
  },
});
server.on('error', (error) => console.log(`error ${error.message}`));
server.listen(0, '127.0.0.1', () => console.log(`smtp ${server.server.address().port}`));
