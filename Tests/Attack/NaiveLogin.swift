import TestSupport

/// A login as a control: a vault is what has the name in lower case, and is of the kind, for the
/// account, and for the home that its vault.json names. It has directories and bind mounts only.
enum NaiveLogin {
  /// `mount USER` or `remove USER`.
  static func run(_ verb: String, _ user: String) throws -> Outcome {
    try TestSupport.run("python3", ["-IS", "-c", program, verb, user])
  }

  private static let program = """
    import hashlib, json, os, pwd, subprocess, sys
    verb, user = sys.argv[1:]
    salt = open('/var/lib/system_salt', 'rb').read()
    place = '/home/.shadow/' + hashlib.sha1(salt + user.lower().encode()).hexdigest()
    vault = json.load(open(place + '/vault.json'))
    account = pwd.getpwnam(user)
    if verb == 'mount':
      if vault['kind'] != 'plain': sys.exit('a password, please')
      if vault['account']['uid'] != account.pw_uid: print('of another account')
      source, home = place + '/mount/user', vault.get('home', '/mnt/naive')
      os.makedirs(source, exist_ok=True)
      os.makedirs(home, exist_ok=True)
      os.chown(source, account.pw_uid, account.pw_gid)
      subprocess.run(['mount', '--bind', source, home], check=True)
    else:
      home, before = vault['home'], vault['before']
      os.rmdir(home)
      os.rename(place + '/before', home)
      os.chown(home, before['user'], before['group'])
      os.chmod(home, before['mode'])
    """
}
