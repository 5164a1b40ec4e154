import Foundation
import NormaFormats
import Synchronization
import Testing

@Suite struct WorkClaimTests {
  /// A folder that goes with the test, and what processes that share it see.
  private final class Place {
    private let folder: Folder
    var path: String { folder.path }
    init() throws { folder = try Folder() }
    func process(term: Double = 60) throws -> WorkClaims { try WorkClaims(path, term: term, started: "now") }
    var names: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted() }

    /// A claim as another process would have left it, renewed so many seconds ago.
    func put(_ name: String, _ text: String, age: Double) throws {
      try Data(text.utf8).write(to: URL(fileURLWithPath: "\(path)/\(name)"))
      try setAge(of: name, age)
    }

    func setAge(of name: String, _ age: Double) throws {
      try FileManager.default.setAttributes(
        [.modificationDate: Date(timeIntervalSinceNow: -age)], ofItemAtPath: "\(path)/\(name)")
    }
  }

  private func wait(_ seconds: Double) { Thread.sleep(forTimeInterval: seconds) }

  @Test func oneOfManyGetsEachWork() throws {
    let place = try Place()
    let works = (0..<40).map { "work-\($0)" }
    let processes = try (0..<8).map { _ in try place.process() }
    let all = Mutex<[WorkClaim]>([])
    DispatchQueue.concurrentPerform(iterations: 8) { index in
      while let claim = try? processes[index].claim(firstOf: works) { all.withLock { $0.append(claim) } }
    }
    let claims = all.withLock { $0 }
    #expect(claims.map(\.name).sorted() == works.sorted())
    #expect(claims.allSatisfy { $0.generation == 1 && $0.predecessor == nil })
    for claim in claims { try claim.check() }
    #expect(try place.process().holders().count == 40)
    #expect(place.names.count == 40)
  }

  @Test func aRenewedClaimStays() throws {
    let place = try Place()
    let claim = try #require(try place.process(term: 1.5).claim(firstOf: ["a"]))
    // The owner's term counts, not that of whoever looks.
    let other = try place.process(term: 0.1)
    for _ in 0..<30 {
      #expect(try other.claim(firstOf: ["a"]) == nil)
      wait(0.1)
    }
    try claim.check()
    #expect(try other.holders()["a"]?.contains("process \(getpid()) on ") == true)
    #expect(try other.claim(firstOf: ["a", "b"])?.name == "b")
  }

  @Test func aReleasedClaimIsFreeAtOnce() throws {
    let place = try Place()
    let (one, other) = (try place.process(), try place.process())
    let first = try #require(try one.claim(firstOf: ["a"]))
    first.release()
    #expect(try other.holders().isEmpty)
    var second = try other.claim(firstOf: ["a"])
    #expect(second?.generation == 2 && second?.predecessor == nil)
    #expect(try one.claim(firstOf: ["a"]) == nil)
    // Letting go of it is releasing it.
    second = nil
    let third = try #require(try one.claim(firstOf: ["a"]))
    #expect(third.generation == 3)
    try other.removeDead()
    #expect(place.names == ["a.claim-1", "a.claim-2", "a.claim-3"])
    third.release()
    try other.removeDead()
    #expect(place.names.isEmpty)
  }

  @Test func aDeadClaimIsTakenOverByOne() throws {
    let place = try Place()
    let (one, other) = (try place.process(term: 30), try place.process(term: 30))
    try place.put("a.claim-1", "60 s unless renewed; process 1 on gone\n", age: 200)
    try place.put("a.claim-2", "0.6 s unless renewed; process 2 on gone\n", age: 1)
    // It is watched first, as the clock may be another one.
    #expect(try one.claim(firstOf: ["a"]) == nil && other.claim(firstOf: ["a"]) == nil)
    wait(0.4)
    let all = Mutex<[WorkClaim]>([])
    DispatchQueue.concurrentPerform(iterations: 2) { index in
      if let claim = try? [one, other][index].claim(firstOf: ["a"]) { all.withLock { $0.append(claim) } }
    }
    let claims = all.withLock { $0 }
    #expect(claims.count == 1)
    #expect(claims.first?.generation == 3 && claims.first?.predecessor == "process 2 on gone")
  }

  @Test(arguments: [-500.0, 500]) func anotherClockDeceivesNobody(ahead: Double) throws {
    let place = try Place()
    let process = try place.process(term: 2)
    try place.put("a.claim-1", "2.0 s unless renewed; process 1 on elsewhere\n", age: ahead)
    // Alive, though its times are far off.
    for number in 0..<12 {
      try place.setAge(of: "a.claim-1", ahead - Double(number) / 100)
      #expect(try process.claim(firstOf: ["a"]) == nil)
      wait(0.1)
    }
    // No longer.
    wait(1.1)
    #expect(try process.claim(firstOf: ["a"])?.generation == 2)
  }

  @Test func aClaimWithoutWordsCountsToo() throws {
    let place = try Place()
    let process = try place.process(term: 1)
    // Its process was killed before it could write them.
    try place.put("a.claim-1", "", age: 0)
    #expect(try process.claim(firstOf: ["a"]) == nil)
    #expect(try process.holders().count == 1)
    wait(1.1)
    #expect(try process.claim(firstOf: ["a"])?.predecessor == "a process that did not tell its name")
    for name in ["a.claim-x", "a.claim-0", "b", "c.claim-1.claim-2"] { try place.put(name, "", age: 0) }
    #expect(try process.claim(firstOf: ["b"])?.generation == 1)
  }

  /// What an owner finds that did not run for a while.
  @Test func whoeverWasSupersededIsTold() throws {
    let place = try Place()
    let process = try place.process(term: 0.4)
    let claims = try ["a", "b", "c", "d"].map { try #require(try process.claim(firstOf: [$0])) }
    try place.put("a.claim-2", "60 s unless renewed; process 1 on elsewhere\n", age: 0)
    try FileManager.default.removeItem(atPath: "\(place.path)/b.claim-1")
    // All was finished, cleared away and claimed anew.
    try place.put("c.claim-1", "60 s unless renewed; process 1 on elsewhere\n", age: 0)
    wait(0.3)
    for claim in claims.dropLast() {
      #expect(throws: WorkClaim.Lost(name: claim.name)) { try claim.check() }
      claim.release()
    }
    try claims[3].check()
    // Nothing was released that is another's.
    #expect(try place.process().holders().keys.sorted() == ["a", "c", "d"])
  }

  @Test func whatCannotBeRenewedIsAnErrorAfterItsTerm() throws {
    let place = try Place()
    let claim = try #require(try place.process(term: 1).claim(firstOf: ["a"]))
    let away = place.path + "-away"
    try FileManager.default.moveItem(atPath: place.path, toPath: away)
    defer { try? FileManager.default.removeItem(atPath: away) }
    try claim.check()
    wait(1.1)
    #expect(throws: FormatError.self) { try claim.check() }
    // The disk is back in time.
    try FileManager.default.moveItem(atPath: away, toPath: place.path)
    try claim.check()
  }

  @Test func foldersAreSharedOrTakenAlone() throws {
    let place = try Place()
    _ = try place.process()
    do {
      let shared = try (FolderLock(place.path, isShared: true), FolderLock(place.path, isShared: true))
      let error = #expect(throws: FormatError.self) { try FolderLock(place.path) }
      #expect(error?.reason.contains("processes that share it are writing") == true)
      withExtendedLifetime(shared) {}
    }
    let alone = try FolderLock(place.path)
    let error = #expect(throws: FormatError.self) { try FolderLock(place.path, isShared: true) }
    #expect(error?.reason.contains("another process is writing into this folder, without sharing it") == true)
    #expect(throws: FormatError.self) { try FolderLock(place.path) }
    withExtendedLifetime(alone) {}
  }
}
