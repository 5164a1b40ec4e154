import ArgumentParser
import Foundation

@main
struct Hosts: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "norma-hosts",
    abstract: "Run a command on several hosts, made of network namespaces of this machine (Linux, as root).",
    discussion: """
      Hosts have the addresses 10.77.0.1, 10.77.0.2 … and share files, processors and memory. What they send each other \
      goes through this process, which delays, loses and paces the packets. Each host has process identifiers of its own.
      """,
    subcommands: [Run.self, Check.self])
}

/// What stands in the way of hosts on this machine, or what went wrong with them.
struct HostsError: Error, CustomStringConvertible {
  let description: String
}

/// The variables that tell a command its place.
enum Surroundings: String, ExpressibleByArgument, CaseIterable {
  case torch, none
}

/// How packets go from one host to another.
struct Link: ParsableArguments {
  @Option(help: "How long a packet takes one way; a round trip takes twice as long.") var delayMilliseconds = 0.0
  @Option(help: "The share of the packets that are lost, each by itself.") var loss = 0.0
  @Option(help: "10⁶ bits a second that a host can send, with the headers of IP and above; nothing is no limit.")
  var megabits: Double?
  @Option(help: "Bytes of a packet at most: 1500 as in most networks, 9000 for jumbo frames; up to 65000.")
  var mtu = 9000
  @Option(help: "Determines which of a host's packets are lost.") var seed: UInt64 = 1

  func validate() throws {
    guard (0...60_000).contains(delayMilliseconds) else {
      throw ValidationError("--delay-milliseconds must be from 0 to 60000, not \(delayMilliseconds)")
    }
    guard (0...1).contains(loss) else { throw ValidationError("--loss must be from 0 to 1, not \(loss)") }
    guard megabits.map({ $0 >= 0.001 && $0 <= 1e6 }) ?? true else {
      throw ValidationError("--megabits must be from 0.001 to 1000000, not \(megabits!)")
    }
    guard (576...65000).contains(mtu) else { throw ValidationError("--mtu must be from 576 to 65000, not \(mtu)") }
  }
}

extension Hosts {
  struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Run a command once for each host.",
      discussion: """
        Lines of output begin with '[host K] '. Signals to end are passed on. A host ends with its command, also where \
        processes that this has started are left. Ends, when all hosts have, with the status of the first that failed, \
        128 + signal for one that a signal ended; a host that --kill ends does not count.
        """)

    @Option(help: "Hosts, 1 to 254.") var count = 2
    @OptionGroup var link: Link
    @Option(
      help: """
        torch sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT and GLOO_SOCKET_IFNAME.
        """)
    var environment = Surroundings.torch
    @Option(help: "MASTER_PORT.") var port: UInt16 = 29500
    @Option(help: "The host whose packets, from it and to it, are dropped from a moment on; its processes live.")
    var cut: Int?
    @Option(help: "The host whose processes are killed at a moment.") var kill: Int?
    @Option(help: "The seconds from the start, or the line of --upon, to that moment.") var after: Double?
    @Option(help: "Count the seconds from the first line of any host that contains this text.") var upon: String?
    @Argument(parsing: .postTerminator, help: "The command with its arguments, after '--'.") var command: [String]

    func validate() throws {
      guard (1...254).contains(count) else { throw ValidationError("--count must be from 1 to 254, not \(count)") }
      guard !command.isEmpty else { throw ValidationError("there is no command; write it after '--'") }
      for (option, host) in [("--cut", cut), ("--kill", kill)] {
        guard let host else { continue }
        guard (0..<count).contains(host) else {
          throw ValidationError("\(option) must name a host from 0 to \(count - 1), not \(host)")
        }
        guard after != nil || upon != nil else { throw ValidationError("\(option) needs --after or --upon") }
      }
      guard (0...1e6).contains(after ?? 0) else {
        throw ValidationError("--after must be from 0 to 1000000, not \(after!)")
      }
      guard after == nil && upon == nil || cut != nil || kill != nil else {
        throw ValidationError("--after and --upon tell when; --cut or --kill must tell what")
      }
    }

    func run() throws {
      #if os(Linux)
        let status = try Machine.run(self)
        if status != 0 { throw ExitCode(status) }
      #else
        throw Machine.elsewhere
      #endif
    }
  }

  struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Say what this machine lacks, if anything; ends with 0 where hosts can be run.")

    func run() throws { try Run.parse(["--count", "1", "--", "true"]).run() }
  }
}

#if !os(Linux)
  enum Machine {
    static let elsewhere = HostsError(description: "hosts are made of network namespaces, which Linux alone has")
  }
#endif
