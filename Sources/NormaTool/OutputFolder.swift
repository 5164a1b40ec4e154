#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

import NormaData
import NormaFormats
import NormaNN
import NormaRecords
import NormaReport
import NormaTensor
import NormaTraining

/// The folder that a run leaves its results in.
struct OutputFolder {
  let path: String

  /// Makes the folder. Nothing of an earlier run is replaced unless asked for.
  init(_ options: OutputOptions, command: String, started: Date) throws {
    path = options.output ?? "runs/\(command)-\(Self.stamp(started))"
    if Folder.exists("\(path)/results.json"), !options.overwrite {
      throw ToolError(
        "'\(path)' already holds the results of a run; choose another --output, or pass --overwrite to replace them")
    }
    try Folder.make("\(path)/overlays")
    if options.overwrite { removeEarlierResults() }
  }

  /// Removes what this tool writes per norm, so that nothing stays of norms that are not trained again.
  private func removeEarlierResults() {
    func remove(in folder: String, where isResult: (String) -> Bool) {
      for name in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [] where isResult(name) {
        try? FileManager.default.removeItem(atPath: "\(folder)/\(name)")
      }
    }
    remove(in: path) { name in
      [("history-", ".csv"), ("weights-", ".safetensors"), ("predictions-", ".tif")].contains {
        name.hasPrefix($0.0) && name.hasSuffix($0.1)
      }
    }
    remove(in: "\(path)/overlays") { $0.contains("-slice-") && $0.hasSuffix(".png") }
  }

  private static func stamp(_ date: Date) -> String {
    String(date.formatted(.iso8601).map { "0123456789".contains($0) ? $0 : "-" }.dropLast())
  }

  func write(_ record: ComparisonRecord) throws {
    try AtomicFile.write(ResultsFile.text(record), to: "\(path)/results.json")
  }

  private func fileName(_ norm: String) -> String {
    String(norm.map { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "." || $0 == "=" || $0 == "+") ? $0 : "-" })
  }

  func writeHistory(_ history: [EpochRecord], norm: String) throws {
    try AtomicFile.write(HistoryCSV.text(history), to: "\(path)/history-\(fileName(norm)).csv")
  }

  /// The state of the network in PyTorch's layout and keys: float32, and counters as int64.
  func writeWeights(_ model: Module, norm: String, metadata: [String: String]) throws {
    let entries = try model.stateDictionary().map { key, value in
      if !value.dtype.isFloatingPoint {
        let counts: [Int64] = try value.array()
        return Safetensors.Entry(
          name: key, dtype: "I64", shape: value.shape, bytes: counts.withUnsafeBytes(Array.init))
      }
      let numbers: [Float] = try value.array()
      return Safetensors.Entry(
        name: key, dtype: "F32", shape: value.shape, bytes: numbers.withUnsafeBytes(Array.init))
    }
    try Safetensors.write(
      entries, metadata: metadata, to: "\(path)/weights-\(fileName(norm)).safetensors")
  }

  func writePredictions(
    _ evaluation: SegmentationTrainer.Evaluation, norm: String, validation: SegmentationDataset
  ) throws {
    let (height, width) = (validation.height, validation.width)
    let stack = try ImageStack(
      pages: validation.pages, channels: validation.classes == 2 ? 1 : validation.classes, height: height,
      width: width, format: .float32, values: evaluation.probabilities.flatMap { $0 })
    try TIFF.write(stack, to: "\(path)/predictions-\(fileName(norm)).tif", compression: .deflate)
    for page in 0..<validation.pages {
      let overlay = try Overlay.image(
        validation.image(page: page), truth: validation.labels(page: page),
        prediction: evaluation.predictions[page], ignored: SegmentationDataset.ignoredClass, height: height,
        width: width)
      let slice = validation.stackPages.lowerBound + page
      try PNG.write(overlay, to: "\(path)/overlays/\(fileName(norm))-slice-\(slice).png")
    }
  }
}
