import Seccomp

/// What `-h` and `-H` print.
enum Help {
  static func text(program: String) -> String {
    "Usage: \(program) [options] [--] PROGRAM [ARGUMENTS...]\n\(options)\n"
  }

  private static let options: StaticString = """

    Accounts:
      -u USER                Become this user, by name or number.
      -g GROUP               Become this group, by name or number.
      -G                     Take the supplementary groups of the -u name.
      -y                     Keep the caller's supplementary groups.
      --add-suppl-group G    Take this supplementary group; may be repeated.

    Mounts:
      -v, --ns-mount         New mount namespace; host mounts still arrive (slave).
      -K[MODE]               With -v, propagation: shared, private, slave, unbindable,
                             or as it is when MODE is missing. Without -K: slave with -v,
                             private with any other option that makes a mount namespace.
      -V FILE                Enter the mount namespace of FILE; with -v, a copy of it.
      -b, --bind-mount SRC[,[DEST][,WRITABLE]]
                             Bind SRC on DEST (SRC itself when missing), read-only unless
                             WRITABLE is 1. Not recursive. Needs -v, -P, -C, a profile or
                             --daemon-store.
      -k, --mount SRC,DEST,TYPE[,[FLAGS][,DATA]]
                             mount(2). FLAGS is an expression such as MS_BIND|MS_REC; none
                             means MS_NOSUID|MS_NODEV|MS_NOEXEC.
      -r                     New read-only /proc.
      -d, --mount-dev        New minimal /dev.
      -t[SIZE]               New tmpfs on /tmp, 64M unless SIZE says otherwise (K M G T P E).
      -C DIR                 chroot to DIR.
      -P DIR                 pivot_root to DIR.
      --profile NAME         minimalistic-mountns: the host's root read-only, nothing below
                             it, new /proc, /dev and /tmp, and rules for files as mounted;
                             minimalistic-mountns-nodev: the same without /dev.
      --daemon-store NAME    Show this daemon store, with the folder of each user who is
                             logged in, now and later; may be repeated. Without -v, no other
                             mount of user data is in the jail.

    Namespaces:
      -l                     New IPC namespace.
      -N                     New cgroup namespace.
      -e[FILE]               New network namespace with only lo, or enter the one of FILE.
      --uts[=NAME]           New UTS namespace, with this host name.
      -p                     New pid namespace with an init, new mount namespace, new /proc.
                             Returns when the last process in it is gone.
      -I                     As -p, but the program is process 1, and /proc stays unless -r.
      -U                     New user namespace, and all of -p.
      -m[MAP], -M[MAP]       -U with these users (-m) or groups (-M): INSIDE OUTSIDE COUNT,
                             and more after ','. Without MAP, the program's id is the caller's.

    Privileges:
      -c SET                 Capabilities of the program: text such as cap_chown,cap_kill+e
                             (only those with e), or a hexadecimal mask.
      --ambient              With -c, also for what the program executes, and for a statically
                             linked program.
      -B MASK                With -c, leave these securebits (hexadecimal) as they are.
      -n                     Set no_new_privs. So it is, unless
      --no-default-runtime-environment
                             no_new_privs is set only by -n, and the filter of
                             /etc/security/minijail/v0.bin is not loaded. So it is with -S, too.

    System calls (seccomp), minijail0(5):
      -S FILE                Allow only what the policy FILE allows. In a dynamic program it is in
                             force when the loader is done, and no_new_privs is set.
      -L                     With -S: log what the policy denies, and allow it.
      -Y                     For all threads, and a violation ends the whole process.
      --seccomp-bpf-binary FILE
                             Load FILE, a compiled program, instead of a policy.
      -s                     Strict mode: only read, write, exit, and return from signals.
      --learn FILE           Record the system calls of the program, and write a policy of them
                             to FILE.
      --allow-speculative-execution
                             Leave speculation on.
      -a TABLE               System call table of a ChromeOS kernel.

    Files (Landlock): what no rule allows is denied. A profile has rules of its own.
      --fs-path-rx PATH      Read and execute PATH, and all below.
      --fs-path-ro PATH      Read.
      --fs-path-rw PATH      Read, and make, write and remove files and directories.
      --fs-path-advanced-rw PATH
                             The same, and links, sockets, pipes and devices.
      --fs-default-paths     Read and execute where programs and libraries are.
      --landlock-abi N       Handle the rights of this ABI, 5 unless given; 0 for none.
      --no-fs-restrictions   No rules, for a profile.
      --enable-profile-fs-restrictions
                             The rules of a profile: so it is.

    Running:
      -f FILE                Write the process id of the jail to FILE.
      -i                     Return at once, and leave the program in the background.
      -z                     Do not forward signals to the program.
      -R TYPE,SOFT,HARD      Limit (RLIMIT_...), each a number or 'unlimited'.
      -T static|dynamic      Do not look at the program's file; it is linked so.
      -w                     New session keyring.
      --env-add NAME=VALUE   Set a variable of the program's environment.
      --env-reset            Start from an empty environment.
      --preserve-fd N        The program inherits descriptor N, though it closes on exec.
      --pty                  The program gets a terminal of its own, shown on the caller's.
                             Without it, it has no /dev/tty.
      --no-new-sessions      Stay in the caller's session and keep its terminal, without the
                             right to type into it.
      --jail-by trace|preload
                             What must wait for the loader of a dynamic program is done by the
                             launcher at the entry point (trace), or by a library inside the
                             program, which trusts the program (preload).
      --start-timeout N      End a program that is not at its entry point after N seconds, 90
                             unless given; 0 for any time.
      --preload-library FILE With --jail-by=preload, the library.
      --logging TARGET       auto (stderr if standard input is a terminal, else syslog),
                             syslog or stderr.
      --config FILE          Take the options of FILE, minijail0(5), at this place.
      --gen-config FILE      Write the options to FILE, and start nothing.

    Information:
      -h, --help             This text.
      -H                     The system calls by name and number.
      --version              The version of this program.
      --explain[=json]       Check everything, print what would be done, what the program
                             would be and the mounts that it would see, and start nothing.
      --strict               Do not start what is only warned about: a bind of all of /run or
                             of all daemon stores, a store whose logins would not arrive,
                             a link of another user in a path, --no-new-sessions, rules for
                             files without Landlock. Not with --jail-by=preload.

    Exit status: the program's; 1 the jail could not be set up, or PROGRAM is not there before;
    126 it could not be executed; 127 it, its interpreter or its loader is missing in the jail;
    128+N killed by signal N; 251 a mount failed; 252 the jail was
    never complete; 253 killed by SIGSYS; 254 killed by any signal, with -p.
    """

  /// Every system call of this machine, in the order of the numbers: people look one up with grep.
  static func systemCalls(program: String) -> String {
    let architecture = Architecture.current
    var text = "Usage: \(program) -H\n\n"
    text += "System calls of \(architecture?.name ?? "this machine"), as policies name them:\n"
    for call in architecture?.systemCalls ?? [] { text += "  \(call.name) [\(call.number)]\n" }
    return text + "\nSee minijail0(5) for how a policy uses them.\n"
  }
}
