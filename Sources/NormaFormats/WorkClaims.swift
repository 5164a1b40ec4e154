#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif
import Dispatch
import Synchronization

/// Pieces of work that processes, on any machines that see one folder, share out among each other without a server: whoever
/// creates the file `NAME.claim-N` has the work, and keeps it by renewing the file's time of change.
///
/// N is a generation. A claim that was released, or not renewed for its term, is taken over by creating generation N + 1, which
/// one process alone can do (`O_EXCL`, over NFS from version 3 on); whoever had it finds the newer one and stops. Times are
/// compared by the clock of the folder's file system; as some have the clients' clocks there, a claim is also watched for half
/// its term before it is taken for dead.
public final class WorkClaims: Sendable {
  /// Where the claims are.
  public let folder: String
  /// Seconds after which a claim of this process that is not renewed may be taken over.
  public let term: Double
  /// What others are told of this process.
  public let holder: String

  private struct Sighting {
    let generation: Int
    let changed: Int
    let since: ContinuousClock.Instant
  }
  private let sightings = Mutex<[String: Sighting]>([:])

  /// - Parameters:
  ///   - folder: made where it is missing.
  ///   - term: seconds, above 0.
  ///   - started: when the process began, for people.
  /// - Throws: ``FormatError`` where the folder cannot be made or written into.
  public init(_ folder: String, term: Double, started: String) throws {
    precondition(term > 0 && term.isFinite, "a claim's term should be above 0 s, got \(term)")
    try Folder.make(folder)
    self.folder = folder
    self.term = term
    // The number tells processes apart that look alike, such as those of containers.
    holder =
      "process \(getpid()) on \(hostName()), started \(started) (\(String(UInt32.random(in: .min ... .max), radix: 16)))"
  }

  /// Claims the first of the works that nobody has.
  /// - Parameter names: parts of file names.
  /// - Returns: nil where others have them all.
  /// - Throws: ``FormatError`` where the folder cannot be read or written.
  public func claim(firstOf names: [String]) throws -> WorkClaim? {
    let now = try clock()
    let newest = try generations()
    for name in names {
      var predecessor: String?
      if let generation = newest[name] {
        guard let file = try ClaimFile(path(name, generation)), isFree(name, generation, file, now) else { continue }
        predecessor = file.isReleased ? nil : file.holder
      }
      if let claim = try WorkClaim.make(self, name, (newest[name] ?? 0) + 1, predecessor) { return claim }
    }
    return nil
  }

  /// Who has which work, with the time since the last sign of life.
  /// - Throws: ``FormatError`` where the folder cannot be read or written.
  public func holders() throws -> [String: String] {
    let now = try clock()
    var result: [String: String] = [:]
    for (name, generation) in try generations() {
      guard let file = try ClaimFile(path(name, generation)), !file.isReleased else { continue }
      let silence = Double(now - file.changed) * 1e-9
      if abs(silence) < file.term ?? term {
        result[name] = "\(file.holder), last sign of life \(max(0, Int(silence))) s ago"
      }
    }
    return result
  }

  /// Removes the claims of works that nobody has, for when all is done: where some is left, generations would begin anew.
  public func removeDead() throws {
    let live = try holders()
    for file in try folderNames(folder) {
      if let (name, _) = Self.parts(file), live[name] == nil { unlink("\(folder)/\(file)") }
    }
  }

  /// The time now minus that of the last change of a file, in seconds by the clock of the file system; nil where it is missing.
  public func age(_ path: String) throws -> Double? {
    let now = try clock()
    var status = stat()
    return stat(path, &status) == 0 ? Double(now - changeTime(status)) * 1e-9 : nil
  }

  // MARK: -

  fileprivate func path(_ name: String, _ generation: Int) -> String { "\(folder)/\(name).claim-\(generation)" }

  private static func parts(_ file: String) -> (name: String, generation: Int)? {
    let parts = file.split(separator: ".claim-", omittingEmptySubsequences: false)
    guard parts.count == 2, let generation = Int(parts[1]), generation > 0 else { return nil }
    return (String(parts[0]), generation)
  }

  /// The newest generation of every work that has one.
  fileprivate func generations() throws -> [String: Int] {
    var newest: [String: Int] = [:]
    for file in try folderNames(folder) {
      if let (name, generation) = Self.parts(file) { newest[name] = max(newest[name] ?? 0, generation) }
    }
    return newest
  }

  /// Nanoseconds since 1970 by the file system's clock. That a file comes and goes also has a network file system's client look at the folder
  /// anew, which it would list from memory otherwise.
  fileprivate func clock() throws -> Int {
    let path = "\(folder)/.norma-clock-\(String(UInt64.random(in: .min ... .max), radix: 16)).part"
    let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw FormatError.writing(path, errorText(errno)) }
    defer {
      close(descriptor)
      unlink(path)
    }
    var status = stat()
    guard futimens(descriptor, nil) == 0, fstat(descriptor, &status) == 0 else {
      throw FormatError.writing(path, errorText(errno))
    }
    return changeTime(status)
  }

  /// - Parameter now: of before the file was looked at, so that a pause in between makes nothing older.
  private func isFree(_ name: String, _ generation: Int, _ file: ClaimFile, _ now: Int) -> Bool {
    if file.isReleased { return true }
    let moment = ContinuousClock.now
    let since = sightings.withLock { sightings in
      if let last = sightings[name], last.generation == generation, last.changed == file.changed { return last.since }
      sightings[name] = Sighting(generation: generation, changed: file.changed, since: moment)
      return moment
    }
    let term = file.term ?? term
    return abs(Double(now - file.changed) * 1e-9) >= term && moment - since >= .seconds(term / 2)
  }
}

/// A piece of work that this process has. It is renewed in the background until it is released or let go.
public final class WorkClaim: Sendable {
  /// What is claimed.
  public let name: String
  /// From 1.
  public let generation: Int
  /// Whoever had the work and gave no sign of life; nil where nobody had it or it was released.
  public let predecessor: String?

  private let claims: WorkClaims
  /// Does all that reads and writes files.
  private let queue: DispatchQueue
  private struct State {
    var renewed = ContinuousClock.now
    var isLost = false
    var isReleased = false
  }
  private let state = Mutex(State())

  private var path: String { claims.path(name, generation) }

  private init(_ claims: WorkClaims, _ name: String, _ generation: Int, _ predecessor: String?) {
    self.claims = claims
    self.name = name
    self.generation = generation
    self.predecessor = predecessor
    queue = DispatchQueue(label: "norma.claim", qos: .userInitiated)
  }

  /// Nil where another process was faster.
  fileprivate static func make(
    _ claims: WorkClaims, _ name: String, _ generation: Int, _ predecessor: String?
  ) throws -> WorkClaim? {
    let path = claims.path(name, generation)
    guard let file = try GrowingFile(path) else { return nil }
    do {
      var text = ClaimFile.text(claims)
      try text.withUTF8 { try file.append(UnsafeRawBufferPointer($0)) }
      try file.finish()
    } catch {
      unlink(path)
      throw error
    }
    let claim = WorkClaim(claims, name, generation, predecessor)
    claim.renewLater()
    return claim
  }

  // Not through the queue, whose last work may be what lets go of this.
  deinit { letGo() }

  private func renewLater() {
    queue.asyncAfter(deadline: .now() + claims.term / 4) { [weak self] in
      guard let self, !self.state.withLock({ $0.isReleased || $0.isLost }) else { return }
      // What fails is tried again, and found by `check()` where it goes on failing.
      try? self.renew()
      self.renewLater()
    }
  }

  /// To be asked before anything of the work is written: throws ``Lost`` where another process has taken it over, as after a
  /// time in which this one did not run.
  /// - Throws: ``FormatError`` where the claim could not be renewed for its whole term.
  public func check() throws {
    let now = state.withLock { $0 }
    if now.isLost { throw Lost(name: name) }
    let silence = ContinuousClock.now - now.renewed
    guard silence >= .seconds(claims.term / 2), !now.isReleased else { return }
    do { try queue.sync { try renew() } } catch { if silence >= .seconds(claims.term) { throw error } }
    if state.withLock({ $0.isLost }) { throw Lost(name: name) }
  }

  /// Leaves the work to whoever wants it, now.
  public func release() {
    queue.sync { letGo() }
  }

  private func letGo() {
    let wasReleased = state.withLock { state in
      defer { state.isReleased = true }
      return state.isReleased
    }
    guard !wasReleased, (try? isOwn()) == true else { return }
    var long = [timespec(), timespec()]
    utimensat(AT_FDCWD, path, &long, 0)
  }

  private func isOwn() throws -> Bool { try ClaimFile(path)?.whole == ClaimFile.text(claims) }

  private func renew() throws {
    let moment = ContinuousClock.now
    _ = try claims.clock()
    if try claims.generations()[name] == generation, try isOwn() {
      try touch()
      state.withLock { $0.renewed = moment }
    } else {
      state.withLock { $0.isLost = true }
    }
  }

  /// By path and with the time left open, so that the file system's clock is taken.
  private func touch() throws {
    guard utimensat(AT_FDCWD, path, nil, 0) == 0 else { throw FormatError.writing(path, errorText(errno)) }
  }

  /// The work is another process's now: nothing more of it is to be written.
  public struct Lost: Error, CustomStringConvertible, Sendable, Equatable {
    public let name: String
    public init(name: String) { self.name = name }
    public var description: String { "'\(name)' was taken over by another process while this one gave no sign of life" }
  }
}

/// What stands in a claim.
private struct ClaimFile {
  let whole: String
  /// Nanoseconds since 1970.
  let changed: Int

  /// Nil where it is missing. It is opened, as a network file system's client looks at the server's attributes only then.
  init?(_ path: String) throws {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      if errno == ENOENT { return nil }
      throw FormatError.reading(path, errorText(errno))
    }
    defer { close(descriptor) }
    var status = stat()
    var bytes = [UInt8](repeating: 0, count: 1024)
    let count = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress!, $0.count) }
    guard count >= 0, fstat(descriptor, &status) == 0 else {
      // Removed by another machine just now.
      if errno == ESTALE { return nil }
      throw FormatError.reading(path, errorText(errno))
    }
    changed = changeTime(status)
    whole = String(decoding: bytes[..<count], as: UTF8.self)
  }

  static func text(_ claims: WorkClaims) -> String { "\(claims.term) s unless renewed; \(claims.holder)\n" }

  /// What its owner promised; nil where it was killed before it could write that.
  var term: Double? {
    whole.split(separator: " ").first.flatMap { Double($0) }.flatMap { $0 > 0 && $0.isFinite ? $0 : nil }
  }

  var holder: String {
    let parts = whole.split(separator: "; ", maxSplits: 1)
    return parts.count == 2 ? String(parts[1].prefix { $0 != "\n" }) : "a process that did not tell its name"
  }

  /// The time of change is set to 1970 then; there are file systems that begin in 1980.
  var isReleased: Bool { changed < 400_000_000 * 1_000_000_000 }
}

/// Nanoseconds since 1970.
private func changeTime(_ status: stat) -> Int {
  #if canImport(Darwin)
    let time = status.st_mtimespec
  #else
    let time = status.st_mtim
  #endif
  return Int(time.tv_sec) * 1_000_000_000 + Int(time.tv_nsec)
}
