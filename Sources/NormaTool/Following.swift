#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

import ArgumentParser
import NormaDistributed
import NormaExperiment
import NormaRecords
import NormaTensor
import NormaTraining

/// Of several workers rank 0 leads: it tells the others which training comes next, and alone reads checkpoints, writes and prints.
struct WorkerTurns {
  private let group: ProcessGroup

  /// nil for a process of its own.
  init?() {
    guard let group = ProcessGroup.current else { return nil }
    self.group = group
  }

  /// What rank 0 finds, in all ranks; in a process of its own what it finds.
  static func told<Value: Codable>(_ find: () throws -> Value?) throws -> Value? {
    guard let group = ProcessGroup.current else { return try find() }
    let own = ProcessGroup.leads ? try find() : nil
    let given = try group.lead(own.map { try jsonText(of: $0, isPretty: false) } ?? "")
    return given.isEmpty ? nil : try record(Value.self, fromJSON: given)
  }

  private struct Turn: Codable {
    var cell: CellRecord
    var fileStem: String
  }

  /// Has the other workers train a cell with this one; nil ends their work.
  func tell(_ cell: CellRecord?, fileStem: String = "") throws {
    _ = try group.lead(cell.map { try jsonText(of: Turn(cell: $0, fileStem: fileStem), isPretty: false) } ?? "")
  }

  /// Trains what rank 0 tells until that ends.
  func follow<Work: Workload>(_ experiment: Experiment<Work>, _ grid: Grid) throws {
    while true {
      let text = try group.lead("")
      if text.isEmpty { return }
      guard let turn = try? record(Turn.self, fromJSON: text),
        let cell = grid.cells.first(where: { $0.record == turn.cell })
      else {
        throw ToolError("rank 0 trains what rank \(group.rank) does not know; do all ranks run the same version?")
      }
      TensorMemory.returnUnused()
      do {
        _ = try experiment.train(
          cell, fileStem: turn.fileStem, peakProcessBytes: { nil }, onStep: { _ in }, onUpdate: { _ in })
      } catch is TrainingInterrupted {
        throw ExitCode(128 + (Interruption.signal ?? SIGTERM))
      }
    }
  }

  /// - Parameters:
  ///   - own: the options by name, and what else has to be the same in all ranks.
  ///   - free: names of what may differ.
  /// - Throws: `ToolError` in all ranks, which names the ranks and the options that differ.
  func checkThatRanksAgree(_ own: [String: String], besides free: [String]) throws {
    let own = own.filter { !free.contains($0.key) }
    let texts = try group.gather(Array(jsonText(of: own, isPretty: false).utf8))
    let all = texts.map { (try? record([String: String].self, fromJSON: String(decoding: $0, as: UTF8.self))) ?? [:] }
    let lists = all.enumerated().compactMap { rank, options -> String? in
      let names = Set(options.keys).union(all[0].keys).filter { options[$0] != all[0][$0] }.sorted()
      if names.isEmpty { return nil }
      return "rank \(rank): "
        + names.map { "\($0) \(options[$0] ?? "not given") instead of \(all[0][$0] ?? "not given")" }.joined(
          separator: ", ")
    }
    guard lists.isEmpty else {
      throw ToolError(
        "all ranks have to be started with the same options and data as rank 0; " + lists.joined(separator: "; "))
    }
  }
}
