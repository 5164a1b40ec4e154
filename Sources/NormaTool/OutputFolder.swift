#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

import NormaExchange
import NormaFormats
import NormaNN
import NormaRecords
import NormaReport

/// The folder that a run leaves its results in.
struct OutputFolder {
  let path: String
  /// Two runs in one folder would write over each other.
  private let lock: FolderLock

  /// What the folder held, when the run goes on.
  let earlier: ComparisonRecord?

  /// Makes the folder. Nothing of an earlier run is replaced unless asked for.
  ///   - resumed: the folder of the run that goes on.
  ///   - isShared: whether other processes may write into it at the same time.
  init(
    _ options: OutputOptions, command: String, started: Date, resuming resumed: String?, isShared: Bool = false
  )
    throws
  {
    path = resumed ?? options.output ?? Self.defaultPath(command, started)
    let exists = Folder.exists("\(path)/results.json")
    if exists, !options.overwrite, resumed == nil, !(isShared && SharedGrid.isThere(in: path)) {
      throw ToolError(
        "'\(path)' already holds the results of a run; choose another --output, pass --resume '\(path)' to go on with it, or "
          + "--overwrite to replace them")
    }
    try Folder.make("\(path)/overlays")
    lock = try FolderLock(path, isShared: isShared)
    if !isShared { try SharedGrid.checkThatNobodyShares(path) }
    // Only now does nobody else write there.
    earlier = try resumed.map { try Self.record(in: $0) }
    if !isShared { removeParts { _ in true } }
    // In a folder without results nothing is this tool's to remove.
    if exists, options.overwrite { removeEarlierResults() }
  }

  /// What there is of the run in a folder.
  static func record(in folder: String) throws -> ComparisonRecord {
    try SharedGrid.record(in: folder) ?? ResultsFile.read("\(folder)/results.json")
  }

  /// Removes what processes that were killed have left half written.
  /// - Parameter isDead: whether nobody writes the file any more, given its path.
  func removeParts(where isDead: (String) throws -> Bool) rethrows {
    for folder in [path, "\(path)/charts", "\(path)/overlays", SharedGrid.place(path)] {
      for name in names(in: folder) where AtomicFile.isPart(name) {
        if try isDead("\(folder)/\(name)") { remove("\(folder)/\(name)") }
      }
    }
  }

  /// Removes what this tool writes per norm, so that nothing stays of norms that are not trained again.
  private func removeEarlierResults() {
    func remove(in folder: String, where isResult: (String) -> Bool) {
      for name in names(in: folder) where isResult(name) { self.remove("\(folder)/\(name)") }
    }
    remove(in: path) { name in
      [
        ("checkpoint-", ".safetensors"), ("history-", ".csv"), ("history-", ".jsonl"), ("weights-", ".safetensors"),
        ("predictions-", ".tif"),
      ].contains {
        name.hasPrefix($0.0) && name.hasSuffix($0.1)
      }
    }
    for run in (try? ResultsFile.read("\(path)/results.json"))?.runs ?? [] {
      self.remove("\(path)/tensorboard/\(run.fileStem)")
    }
    SharedGrid.remove(in: path)
    self.remove("\(path)/report.html")
    remove(in: "\(path)/charts") { $0.hasSuffix(".svg") }
    remove(in: "\(path)/overlays") { $0.hasSuffix(".png") }
  }

  private func names(in folder: String) -> [String] {
    (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
  }

  private func remove(_ path: String) { try? FileManager.default.removeItem(atPath: path) }

  /// What a training that was interrupted goes on from.
  func checkpoint(_ fileStem: String) -> String { "\(path)/checkpoint-\(fileStem).safetensors" }

  /// Once its results are written, a training needs no checkpoint.
  func removeCheckpoint(_ fileStem: String) { remove(checkpoint(fileStem)) }

  /// The options of the run, for `--config`.
  func writeConfiguration(_ record: ComparisonRecord, command: String) throws {
    try AtomicFile.write(Configuration.text(record, command: command), to: "\(path)/config.yaml")
  }

  /// Where results go unless the user says so.
  static func defaultPath(_ command: String, _ started: Date) -> String {
    "runs/\(command)-" + String(started.formatted(.iso8601).map { "0123456789".contains($0) ? $0 : "-" }.dropLast())
  }

  func write(_ record: ComparisonRecord) throws {
    try AtomicFile.write(ResultsFile.text(record), to: "\(path)/results.json")
  }

  /// The page and the charts of what is finished so far.
  func writeReport(_ record: ComparisonRecord) throws {
    try Report([(path, record)]).write(page: "\(path)/report.html", charts: "\(path)/charts")
  }

  /// The event file of one training.
  func tensorBoard(_ fileStem: String) throws -> TensorBoardWriter {
    // TensorBoard would show those of an interrupted training together with the new ones.
    remove("\(path)/tensorboard/\(fileStem)")
    return try TensorBoardWriter(output: path, run: fileStem)
  }

  func writeHistory(_ run: RunRecord) throws {
    try AtomicFile.write(HistoryJSONLines.text(run.history), to: "\(path)/history-\(run.fileStem).jsonl")
    try AtomicFile.write(HistoryCSV.text(run.history), to: "\(path)/history-\(run.fileStem).csv")
  }

  /// The state of the network under PyTorch's keys.
  /// - Parameter isLast: whether it is that after the last epoch instead of the best one.
  func writeWeights(_ model: Module, fileStem: String, isLast: Bool = false, metadata: [String: String]) throws {
    try model.writeWeights(
      to: "\(path)/weights-\(isLast ? "last-" : "")\(fileStem).safetensors", metadata: metadata)
  }
}
