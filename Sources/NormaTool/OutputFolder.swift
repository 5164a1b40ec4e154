#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

import NormaData
import NormaExchange
import NormaFormats
import NormaNN
import NormaRecords
import NormaReport
import NormaTensor
import NormaTraining

/// The folder that a run leaves its results in.
struct OutputFolder {
  let path: String

  /// What the folder held, when the run goes on.
  let earlier: ComparisonRecord?

  /// Makes the folder. Nothing of an earlier run is replaced unless asked for.
  init(_ options: OutputOptions, command: String, started: Date) throws {
    path = options.output ?? Self.defaultPath(command, started)
    let exists = Folder.exists("\(path)/results.json")
    if exists, !options.overwrite, !options.resume {
      throw ToolError(
        "'\(path)' already holds the results of a run; choose another --output, pass --resume to go on with it, or "
          + "--overwrite to replace them")
    }
    earlier = exists && options.resume ? try ResultsFile.read("\(path)/results.json") : nil
    try Folder.make("\(path)/overlays")
    // In a folder without results nothing is this tool's to remove.
    if exists, options.overwrite { removeEarlierResults() }
  }

  /// Removes what this tool writes per norm, so that nothing stays of norms that are not trained again.
  private func removeEarlierResults() {
    func remove(in folder: String, where isResult: (String) -> Bool) {
      for name in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [] where isResult(name) {
        try? FileManager.default.removeItem(atPath: "\(folder)/\(name)")
      }
    }
    remove(in: path) { name in
      [("history-", ".csv"), ("history-", ".jsonl"), ("weights-", ".safetensors"), ("predictions-", ".tif")].contains {
        name.hasPrefix($0.0) && name.hasSuffix($0.1)
      }
    }
    for run in (try? ResultsFile.read("\(path)/results.json"))?.runs ?? [] {
      try? FileManager.default.removeItem(atPath: "\(path)/tensorboard/\(run.fileStem)")
    }
    try? FileManager.default.removeItem(atPath: "\(path)/report.html")
    remove(in: "\(path)/charts") { $0.hasSuffix(".svg") }
    remove(in: "\(path)/overlays") { $0.contains("-slice-") && $0.hasSuffix(".png") }
  }

  /// The run to go on with, if there is one; one that cannot be read is an error of ``init(_:command:started:)``.
  static func earlier(_ options: OutputOptions) -> ComparisonRecord? {
    guard options.resume, let path = options.output else { return nil }
    return try? ResultsFile.read("\(path)/results.json")
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
    try? FileManager.default.removeItem(atPath: "\(path)/tensorboard/\(fileStem)")
    return try TensorBoardWriter(output: path, run: fileStem)
  }

  func writeHistory(_ run: RunRecord) throws {
    try AtomicFile.write(HistoryJSONLines.text(run.history), to: "\(path)/history-\(run.fileStem).jsonl")
    try AtomicFile.write(HistoryCSV.text(run.history), to: "\(path)/history-\(run.fileStem).csv")
  }

  /// The state of the network under PyTorch's keys.
  func writeWeights(_ model: Module, fileStem: String, metadata: [String: String]) throws {
    try model.writeWeights(to: "\(path)/weights-\(fileStem).safetensors", metadata: metadata)
  }

  /// - Parameter overlays: takes the pictures too; nil for none.
  func writePredictions(
    _ evaluation: SegmentationTrainer.Evaluation, of slices: SegmentationDataset, fileStem: String,
    overlays: TensorBoardWriter?,
    epoch: Int
  ) throws {
    let (height, width) = (slices.height, slices.width)
    let stack = try ImageStack(
      pages: slices.pages, channels: slices.classes == 2 ? 1 : slices.classes, height: height,
      width: width, format: .float32, values: evaluation.probabilities.flatMap { $0 })
    try TIFF.write(stack, to: "\(path)/predictions-\(fileStem).tif", compression: .deflate)
    guard let overlays else { return }
    for page in 0..<slices.pages {
      let overlay = try Overlay.image(
        slices.image(page: page), truth: slices.labels(page: page),
        prediction: evaluation.predictions[page], ignored: SegmentationDataset.ignoredClass, height: height,
        width: width)
      let slice = slices.stackPages.lowerBound + page
      try PNG.write(overlay, to: "\(path)/overlays/\(fileStem)-slice-\(slice).png")
      try overlays.image("overlay/slice-\(slice)", overlay, step: epoch)
    }
  }
}
