import Foundation
import TestSupport
import Testing

/// Hosts made of network namespaces, which tests and measurements of training on several use.
enum Hosts {
  /// Runs norma-hosts.
  static func run(_ arguments: [String], started: (Process) throws -> Void = { _ in }) throws -> Tool.Outcome {
    try Tool.run(
      arguments, executable: Tool.path.deletingLastPathComponent().appendingPathComponent("norma-hosts"),
      started: started)
  }

  /// Why this machine cannot run them; nil where it can.
  static let obstacle: String? = {
    do {
      let outcome = try run(["check"])
      return outcome.status == 0 ? nil : outcome.output + outcome.errors
    } catch {
      return "\(error)"
    }
  }()
}

@Suite struct HostsArgumentTests {
  @Test(arguments: [
    (["--count", "0", "--", "true"], "--count must be from 1 to 254, not 0"),
    (["--loss", "1.5", "--", "true"], "--loss must be from 0 to 1, not 1.5"),
    (["--delay-milliseconds", "nan", "--", "true"], "--delay-milliseconds must be from 0 to 60000, not nan"),
    (["--megabits", "0", "--", "true"], "--megabits must be from 0.001 to 1000000, not 0.0"),
    (["--mtu", "65535", "--", "true"], "--mtu must be from 576 to 65000, not 65535"),
    (["--cut", "2", "--after", "1", "--", "true"], "--cut must name a host from 0 to 1, not 2"),
    (["--kill", "1", "--", "true"], "--kill needs --after or --upon"),
    (["--upon", "ready", "--", "true"], "--cut or --kill must tell what"),
    (["--count", "2"], "'-- <command> ...'"),
  ]) func badArgumentsAreNamed(arguments: [String], words: String) throws {
    let outcome = try Hosts.run(["run"] + arguments)
    #expect(outcome.status == 64 && outcome.errors.contains(words), "\(outcome.errors)")
  }
}

@Suite(.enabled(if: Hosts.obstacle == nil, Comment(rawValue: Hosts.obstacle ?? "")))
struct HostsTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  /// A TCP connection from host 1 to host 0.
  private static let connection = """
    import os, socket, sys, time
    rank, place = int(os.environ["RANK"]), (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    def connect():
      if rank == 0: return socket.create_server(place).accept()[0]
      while True:
        try: return socket.create_connection(place)
        except ConnectionRefusedError: time.sleep(0.02)
    peer = connect()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    """

  /// Runs a script on both hosts.
  private func run(_ options: [String], _ script: String) throws -> Tool.Outcome {
    try Hosts.run(["run"] + options + ["--", Python.executable, "-c", Self.connection + script])
  }

  private func number(after name: String, in outcome: Tool.Outcome) throws -> Double {
    let line = outcome.output.split(separator: "\n").first { $0.contains(name) }
    return try #require(line?.split(separator: " ").last.flatMap { Double($0) }, "\(outcome.output)\(outcome.errors)")
  }

  /// Waits until a file is there.
  private func wait(for name: String, _ process: Process) {
    while process.isRunning, !FileManager.default.fileExists(atPath: folder.path(name)) { usleep(10_000) }
  }

  @Test func hostsKnowTheirPlaceAndReachEachOther() throws {
    let outcome = try run(
      ["--port", "1234"],
      """
      names = ["WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "GLOO_SOCKET_IFNAME"]
      print(*(os.environ[name] for name in names), peer.getsockname()[0], [name for _, name in socket.if_nameindex()])
      print("not a whole line", end="", file=sys.stderr)
      """)
    for host in 0...1 {
      let line = "[host \(host)] 2 0 10.77.0.1 1234 norma0 10.77.0.\(host + 1) ['lo', 'norma0']\n"
      #expect(outcome.output.contains(line), "\(outcome.output)")
      #expect(outcome.errors.contains("[host \(host)] not a whole line\n"), "\(outcome.errors)")
    }
    #expect(outcome.status == 0)
    let plain = try Hosts.run(["run", "--environment", "none", "--count", "1", "--", "sh", "-c", "echo \"<$RANK>\""])
    #expect(plain.output == "[host 0] <>\n")
  }

  @Test func packetsTakeTheirTime() throws {
    let outcome = try run(
      ["--delay-milliseconds", "20"],
      """
      times = []
      for _ in range(10):
        start = time.perf_counter()
        if rank == 1: peer.sendall(b"x")
        peer.recv(1)
        if rank == 0: peer.sendall(b"x")
        times.append(1e3 * (time.perf_counter() - start))
      if rank == 1: print("milliseconds", min(times))
      """)
    let milliseconds = try number(after: "milliseconds", in: outcome)
    #expect(milliseconds >= 40 && milliseconds < 200)
  }

  @Test func aHostSendsAtItsRate() throws {
    let outcome = try run(
      ["--megabits", "20"],
      """
      start, size = time.perf_counter(), 2 << 20
      if rank == 1: peer.sendall(bytes(size))
      while rank == 0 and size > 0: size -= len(peer.recv(size))
      if rank == 0: peer.sendall(b"x")
      peer.recv(1)
      if rank == 1: print("seconds", time.perf_counter() - start)
      """)
    // 2 MiB are 16.8 million bits; buffers of the kernel do not count, since the end is answered.
    let seconds = try number(after: "seconds", in: outcome)
    #expect(seconds > 0.83 && seconds < 20)
  }

  @Test(arguments: [0, 0.4]) func packetsAreLost(share: Double) throws {
    // Without a connection, which would suffer itself: hosts share files.
    let script = """
      import os, socket, sys, time
      rank, place, ready = int(os.environ["RANK"]), (os.environ["MASTER_ADDR"], 5000), sys.argv[1]
      packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
      if rank == 0:
        packets.bind(place)
        open(ready, "w")
        count = 0
        try:
          while True:
            packets.recv(10)
            packets.settimeout(3)
            count += 1
        except TimeoutError: print("arrived", count)
      else:
        while not os.path.exists(ready): time.sleep(0.02)
        for number in range(1000):
          packets.sendto(b"x", place)
          if number % 20 == 0: time.sleep(0.001)
      """
    let outcome = try Hosts.run(
      ["run", "--loss", "\(share)", "--", Python.executable, "-c", script, folder.path("ready")])
    let arrived = try number(after: "arrived", in: outcome)
    #expect(share == 0 ? arrived == 1000 : arrived > 300 && arrived < 700)
  }

  /// Host 1 hears nothing more, but lives.
  @Test func aHostIsCutOff() throws {
    let outcome = try run(
      ["--cut", "0", "--upon", "exchanged"],
      """
      peer.settimeout(3)
      end = time.monotonic() + 60
      try:
        while time.monotonic() < end:
          peer.sendall(b"x")
          if peer.recv(1) == b"": sys.exit(3)
          print("exchanged", flush=True)
          time.sleep(0.02)
        sys.exit(4)
      except TimeoutError: print("hears nothing")
      """)
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(outcome.errors.contains("norma-hosts: host 0 is cut off\n"), "\(outcome.errors)")
    for host in 0...1 { #expect(outcome.output.contains("[host \(host)] hears nothing\n"), "\(outcome.output)") }
  }

  @Test func aHostIsKilled() throws {
    let outcome = try run(
      ["--kill", "1", "--upon", "connected", "--after", "0.1"],
      """
      print("connected", flush=True)
      if rank == 1: time.sleep(60)
      try: print("received", peer.recv(1))
      except ConnectionResetError: print("received nothing")
      """)
    // The one that is killed does not count.
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(outcome.output.contains("[host 0] received"), "\(outcome.output)")
    #expect(outcome.errors.contains("host 1 ended with status 137, being killed"), "\(outcome.errors)")
  }

  @Test func theFirstFailureIsTheStatus() throws {
    let outcome = try Hosts.run(["run", "--count", "3", "--", "sh", "-c", "sleep $((2 - RANK)); exit $((RANK * 3))"])
    #expect(outcome.status == 6, "\(outcome.errors)")
    #expect(outcome.errors.contains("host 1 ended with status 3"), "\(outcome.errors)")
    let missing = try Hosts.run(["run", "--count", "1", "--", "/no/such/command"])
    #expect(missing.status == 127)
    #expect(missing.errors.contains("cannot run '/no/such/command': No such file"), "\(missing.errors)")
  }

  @Test(arguments: [SIGINT, SIGTERM]) func signalsArePassedOn(signal: Int32) throws {
    let script = "trap 'exit 7' INT TERM; touch \(folder.path("ready-"))$RANK; while :; do sleep 0.05; done"
    let outcome = try Hosts.run(["run", "--", "sh", "-c", script]) { process in
      for host in 0...1 { wait(for: "ready-\(host)", process) }
      kill(process.processIdentifier, signal)
    }
    #expect(outcome.status == 7, "\(outcome.errors)")
    for host in 0...1 { #expect(outcome.errors.contains("host \(host) ended with status 7"), "\(outcome.errors)") }
  }

  /// Processes whose arguments contain a text.
  private func processes(_ text: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: "/proc").filter { name in
      guard Int(name) != nil, let arguments = FileManager.default.contents(atPath: "/proc/\(name)/cmdline") else {
        return false
      }
      return String(decoding: arguments, as: UTF8.self).contains(text)
    }
  }

  @Test func nothingIsLeftBehind() throws {
    // Also processes that have left their command's session.
    let script = """
      setsid sh -c 'while :; do sleep 1; done' $0 &
      touch \(folder.path("ready-"))$RANK
      while :; do sleep 1; done
      """
    let mark = "mark-\(UUID().uuidString)"
    var before: [String] = []
    _ = try Hosts.run(["run", "--", "sh", "-c", script, mark]) { process in
      for host in 0...1 { wait(for: "ready-\(host)", process) }
      before = try processes(mark)
      kill(process.processIdentifier, SIGKILL)
    }
    // norma-hosts, and three on each host: the one that leads it and two shells.
    #expect(before.count >= 7)
    var left = before
    for _ in 0..<500 where !left.isEmpty {
      usleep(20_000)
      left = try processes(mark)
    }
    #expect(left.isEmpty)
  }
}
