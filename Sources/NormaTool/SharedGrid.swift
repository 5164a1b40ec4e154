#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif
#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

import ArgumentParser
import NormaExperiment
import NormaFormats
import NormaRecords
import NormaReport

/// How a process takes part in a run that several work off.
struct Sharing {
  /// Seconds without a sign of life after which a training may be taken over.
  let timeout: Double
  /// Whether to wait for the trainings of others at the end.
  let waits: Bool
}

/// A grid that several processes work off. `shared/` in the folder of the run has one record per training, written by whoever has
/// claimed it, and the plan: the run without them. results.json is made from these, the same by whomever.
final class SharedGrid {
  private let folder: OutputFolder
  private let sharing: Sharing
  private let claims: WorkClaims
  /// Those that do not change any more.
  private var done: [CellRecord: RunRecord] = [:]
  private var published = ContinuousClock.now

  private struct Plan: Codable {
    /// Without runs.
    var record: ComparisonRecord
    /// In the order of the runs.
    var cells: [CellRecord]
  }

  init(_ folder: OutputFolder, _ sharing: Sharing, started: String) throws {
    self.folder = folder
    self.sharing = sharing
    claims = try WorkClaims(Self.place(folder.path), term: sharing.timeout, started: started)
  }

  static func place(_ folder: String) -> String { "\(folder)/shared" }
  private static func plan(_ folder: String) -> String { "\(place(folder))/run.json" }
  /// What is claimed to change the plan.
  private static let planning = "run"

  /// Names a cell with all its parts: a file's stem has those alone in which the trainings of the run differ.
  private static func name(_ cell: CellRecord) -> String {
    fileName("\(cell.norm)-batch\(cell.batchSize)-rate\(cell.learningRate)-seed\(cell.seed)")
  }

  // MARK: - The folder

  /// Whether the run in the folder is shared by processes, now or before.
  static func isThere(in folder: String) -> Bool { Folder.exists(plan(folder)) }

  /// The run that processes have shared in the folder, with what there is of all trainings; nil where there is none.
  static func record(in folder: String) throws -> ComparisonRecord? {
    var done: [CellRecord: RunRecord] = [:]
    return try record(in: folder, &done)
  }

  private static func record(in folder: String, _ done: inout [CellRecord: RunRecord]) throws -> ComparisonRecord? {
    guard let plan = try read(Plan.self, plan(folder)) else { return nil }
    var record = plan.record
    for cell in plan.cells {
      guard let run = try done[cell] ?? run(cell, in: folder) else { continue }
      record.runs.append(run)
      if run.isDone { done[cell] = run }
    }
    record.analysis = record.analyzed()
    return record
  }

  /// A finished training has another file than one under way: what a process writes that slept meanwhile does not replace it.
  private static func file(_ cell: CellRecord, isFinished: Bool, in folder: String) -> String {
    "\(place(folder))/\(name(cell)).\(isFinished ? "" : "unfinished.")json"
  }

  private static func run(_ cell: CellRecord, in folder: String) throws -> RunRecord? {
    // It may come to its end between the first two.
    for isFinished in [true, false, true] {
      let path = file(cell, isFinished: isFinished, in: folder)
      guard let run = try read(RunRecord.self, path) else { continue }
      guard run.cell == cell else {
        throw ToolError("'\(path)' is of another training than its name says; work off this grid without --share")
      }
      try ResultsFile.check([run], path)
      return run
    }
    return nil
  }

  /// Nil where the file is missing.
  private static func read<Record: Decodable>(_ type: Record.Type, _ path: String) throws -> Record? {
    // A file that another machine replaces may vanish under a reader.
    for _ in 0..<20 {
      if let data = FileManager.default.contents(atPath: path) {
        do { return try NormaRecords.record(type, fromJSON: String(decoding: data, as: UTF8.self)) } catch {
          throw ToolError(
            "'\(path)' is damaged (\(error)); remove it and go on with --resume, which begins anew what is missing"
          )
        }
      }
      if !Folder.exists(path) { return nil }
      usleep(50_000)
    }
    throw ToolError("cannot read '\(path)'; see whether this user may, and whether its disk is there")
  }

  /// - Throws: where processes work in the folder, which one that does not share it would write over.
  static func checkThatNobodyShares(_ folder: String) throws {
    guard isThere(in: folder) else { return }
    // The term is of no use here, as nothing is claimed.
    let holders = try WorkClaims(place(folder), term: 1, started: "").holders()
    guard let first = holders.min(by: { $0.key < $1.key }) else { return }
    throw ToolError(
      "processes share '\(folder)': \(first.value), has \(first.key); pass --share to join them, or wait until they have ended "
        + "or, if they were killed, until their --claim-timeout is over")
  }

  /// Takes away what a shared run is made of, for a process that goes on alone.
  static func remove(in folder: String) {
    // A folder of this name may be the user's own.
    guard (try? read(Plan.self, plan(folder))) != nil else { return }
    let place = place(folder)
    for name in (try? FileManager.default.contentsOfDirectory(atPath: place)) ?? []
    where name.hasSuffix(".json") || name.contains(".claim-") || AtomicFile.isPart(name) {
      unlink("\(place)/\(name)")
    }
    rmdir(place)
  }

  // MARK: - Taking part

  /// Begins the run, joins it or has it go on.
  /// - Parameters:
  ///   - mine: the record of a new run with this process's options.
  ///   - goingOn: checks that `mine` belongs to an earlier record and makes one of both; told whether the grids must be equal.
  /// - Returns: the run with what there is of all trainings.
  func begin(
    _ mine: ComparisonRecord, _ cells: [CellRecord], command: String, isResuming: Bool,
    goingOn: (_ earlier: ComparisonRecord, _ isEqual: Bool) throws -> ComparisonRecord
  ) throws -> ComparisonRecord {
    while true {
      if !isResuming, let earlier = try Self.record(in: folder.path) { return try goingOn(earlier, true) }
      if let claim = try claims.claim(firstOf: [Self.planning]) {
        defer { claim.release() }
        if !isResuming, Self.isThere(in: folder.path) { continue }
        do {
          try plan(mine, cells, claim, command: command, isResuming: isResuming) { try goingOn($0, false) }
        } catch is WorkClaim.Lost { continue }
        return try publish(withReport: false)
      }
      if let signal = Interruption.signal { throw ExitCode(128 + signal) }
      usleep(100_000)
    }
  }

  private func plan(
    _ mine: ComparisonRecord, _ cells: [CellRecord], _ claim: WorkClaim, command: String, isResuming: Bool,
    goingOn: (ComparisonRecord) throws -> ComparisonRecord
  ) throws {
    let earlier = try Self.read(Plan.self, Self.plan(folder.path))
    var record = mine
    if isResuming {
      record = try goingOn(OutputFolder.record(in: folder.path))
      // A failure is tried again once, not by everyone who joins.
      let isNew = try claims.holders().keys.allSatisfy { $0 == Self.planning }
      for var run in record.runs where earlier == nil || isNew && run.isFinished && !run.isDone {
        if !run.isDone { (run.isFinished, run.failure) = (false, nil) }
        try write(run)
        if !run.isFinished { remove(run.cell, isFinished: true) }
      }
    }
    let known = earlier?.cells ?? record.runs.map(\.cell)
    let all = known + cells.filter { !known.contains($0) }
    (record.runs, record.analysis) = ([], [])
    if isResuming {
      record.configuration = ComparisonRecord.configuration(of: [record], seeds: all.map(\.seed))
    } else {
      // What a process left that ended before it had a plan.
      for cell in all { for isFinished in [true, false] { remove(cell, isFinished: isFinished) } }
    }
    try claim.check()
    try folder.writeConfiguration(record, command: command)
    try AtomicFile.write(jsonText(of: Plan(record: record, cells: all)) + "\n", to: Self.plan(folder.path))
  }

  private func write(_ run: RunRecord) throws {
    let path = Self.file(run.cell, isFinished: run.isFinished, in: folder.path)
    try AtomicFile.write(jsonText(of: run) + "\n", to: path)
    if run.isFinished { remove(run.cell, isFinished: false) }
  }

  private func remove(_ cell: CellRecord, isFinished: Bool) {
    unlink(Self.file(cell, isFinished: isFinished, in: folder.path))
  }

  /// Keeps what there is of a training and, not at every occasion, makes results.json and the report anew.
  func keep(_ run: RunRecord, _ record: inout ComparisonRecord) throws {
    try write(run)
    if run.isFinished {
      record = try publish(withReport: true)
    } else {
      // Each time all records are written: with many trainings that is much.
      if ContinuousClock.now - published >= .seconds(10) { record = try publish(withReport: false) }
      record.put(run)
    }
  }

  /// Makes results.json, and the report if asked for, from what there is.
  func publish(withReport: Bool) throws -> ComparisonRecord {
    var record = try whole()
    while true {
      try folder.write(record)
      if withReport { try folder.writeReport(record) }
      published = .now
      // Another process may have finished a training and written meanwhile: an older table is not to be the last.
      let now = try whole()
      let isLatest = now.runs.count(where: \.isFinished) == record.runs.count(where: \.isFinished)
      record = now
      if isLatest { return record }
    }
  }

  private func whole() throws -> ComparisonRecord {
    guard let record = try Self.record(in: folder.path, &done) else {
      throw ToolError(
        "the plan of the run, '\(Self.plan(folder.path))', is gone: another process has taken the folder for itself")
    }
    return record
  }

  /// Trains the cells that nobody has, until there are none left.
  /// - Parameters:
  ///   - interrupt: called instead of going on, when the process is to end.
  ///   - train: trains a cell; told how many are before it, of those that are unfinished.
  /// - Returns: the run as it is at the end, and the trainings that others have still under way: none if they are waited for.
  func work(
    _ cells: [Grid.Cell], interrupt: (ComparisonRecord) throws -> Never,
    train: (_ cell: Grid.Cell, _ claim: WorkClaim, _ left: Int, _ record: inout ComparisonRecord) throws -> Void
  ) throws -> (record: ComparisonRecord, others: [String]) {
    var isToldOfWaiting = false
    while true {
      var record = try whole()
      if Interruption.signal != nil { try interrupt(publish(withReport: true)) }
      let runs = Dictionary(record.runs.map { ($0.cell, $0) }) { $1 }
      let left = cells.filter { runs[$0.record]?.isFinished != true }
      if left.isEmpty {
        record = try publish(withReport: true)
        if record.runs.allSatisfy(\.isFinished) { try cleanUp(record.runs) }
        return (record, [])
      }
      // What nobody has begun comes first: a training that kills its process is not to keep all from the others.
      let order = left.filter { runs[$0.record] == nil } + left.filter { runs[$0.record] != nil }
      if let claim = try claims.claim(firstOf: order.map { Self.name($0.record) }),
        let cell = order.first(where: { Self.name($0.record) == claim.name })
      {
        defer { claim.release() }
        // Somebody may have finished it since.
        if try Self.run(cell.record, in: folder.path)?.isFinished == true { continue }
        record = try whole()
        if let predecessor = claim.predecessor { log.warning("\(claim.name) is taken over from \(predecessor)") }
        do { try train(cell, claim, left.count, &record) } catch {
          // What fails after a sleep may fail because of what the other process has done since.
          do { try claim.check() } catch let lost as WorkClaim.Lost {
            log.warning("\(lost); nothing more of it is written here")
            continue
          }
          throw error
        }
        isToldOfWaiting = false
        continue
      }
      let holders = try claims.holders()
      let others = left.map { cell in
        let name = Self.name(cell.record)
        return "\(name) (\(holders[name] ?? "its process gives no sign of life"))"
      }
      if !sharing.waits { return (try publish(withReport: true), others) }
      if !isToldOfWaiting {
        log.info("waiting for what others train: \(others.joined(separator: "; "))")
      }
      isToldOfWaiting = true
      pause()
    }
  }

  /// Removes what nobody needs any more, and what killed processes have left, some of it half written.
  private func cleanUp(_ runs: [RunRecord]) throws {
    try claims.removeDead()
    for run in runs {
      remove(run.cell, isFinished: false)
      if run.isDone { folder.removeCheckpoint(run.fileStem) }
    }
    try folder.removeParts { try claims.age($0) ?? 0 > sharing.timeout }
  }

  /// Long enough not to trouble a file server with many waiting; short enough for a person, and for a term.
  private func pause() {
    let end = ContinuousClock.now + .seconds(min(5, sharing.timeout / 20))
    while ContinuousClock.now < end, Interruption.signal == nil { usleep(20_000) }
  }
}
