#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif
import NormaFormats
import NormaRecords

/// A comparison as a page that opens without a network, and as charts; made from records alone.
public struct Report: Sendable {
  /// Of all runs together; its analysis is made anew.
  public let record: ComparisonRecord
  /// The commands that make the runs, in parts of a line each.
  let commands: [[String]]
  let pictures: Pictures

  /// - Parameter folders: of runs, or the paths of their results.json. Several are merged: they may differ in norms, seeds,
  ///   batch sizes and learning rates, and in the machine, which is told.
  /// - Throws: ``ResultsError`` for what is no record, for runs that differ in anything else, and for a training that two of
  ///   them have finished.
  public init(reading folders: [String]) throws {
    try self.init(
      folders.map { path in
        let folder = Self.folder(of: path)
        return (folder, try ResultsFile.read(path.hasSuffix(".json") ? path : "\(folder)/results.json"))
      })
  }

  /// The folder of a run that is named by it or by the path of its results.json.
  public static func folder(of path: String) -> String {
    var parts = path.split(separator: "/", omittingEmptySubsequences: false)
    if path.hasSuffix(".json") { parts.removeLast() }
    while parts.count > 1, parts.last?.isEmpty == true { parts.removeLast() }
    let folder = parts.joined(separator: "/")
    return folder.isEmpty ? (path.hasPrefix("/") ? "/" : ".") : folder
  }

  /// - Parameter runs: records with the folders that have their overlays; at least one.
  /// - Throws: ``ResultsError`` as above.
  public init(_ runs: [(folder: String, record: ComparisonRecord)]) throws {
    guard let first = runs.first else { throw ResultsError("a report needs at least one run") }
    var merged = first.record
    var places = Dictionary(merged.runs.indices.map { (merged.runs[$0].cell, (run: $0, folder: first.folder)) }) { $1 }
    for (folder, record) in runs.dropFirst() {
      try Self.checkThatTheyBelongTogether(first, (folder, record))
      for var run in record.runs {
        run.environment = run.environment ?? record.environment
        if run.environment == merged.environment { run.environment = nil }
        guard let place = places[run.cell] else {
          places[run.cell] = (merged.runs.count, folder)
          merged.runs.append(run)
          continue
        }
        // Of two, the one that came to its end; results of two trainings are never mixed or dropped unsaid.
        if merged.runs[place.run].isFinished, run.isFinished {
          throw ResultsError(
            "'\(place.folder)' and '\(folder)' both have the training of \(run.norm) with batch size \(run.cell.batchSize), "
              + "learning rate \(run.cell.learningRate) and seed \(run.cell.seed); leave one of the runs out")
        }
        if run.isFinished {
          merged.runs[place.run] = run
          places[run.cell] = (place.run, folder)
        }
      }
    }
    if runs.count > 1 {
      merged.configuration = ComparisonRecord.configuration(
        of: runs.map(\.record), seeds: runs.flatMap { $0.record.runs.map(\.cell.seed) })
    }
    merged.analysis = merged.analyzed()
    record = merged
    commands = unique(runs.map(\.record.commandParts))
    pictures = Pictures(of: merged) { places[$0.cell]?.folder }
  }

  private typealias Run = (folder: String, record: ComparisonRecord)

  private static func checkThatTheyBelongTogether(_ first: Run, _ other: Run) throws {
    func refuse(_ what: String) throws {
      throw ResultsError(
        "'\(first.folder)' and '\(other.folder)' are different experiments (\(what)); give runs that differ in norms, seeds, "
          + "batch sizes and learning rates alone")
    }
    let options = other.record.differentOptions(from: first.record)
    if !options.isEmpty {
      try refuse(
        options.map { "--\($0.name) \($0.there ?? "not given") and \($0.here ?? "not given")" }.joined(separator: "; "))
    }
    if other.record.data != first.record.data {
      try refuse("the data: \(first.record.data.summary), and \(other.record.data.summary)")
    }
    if other.record.score != first.record.score {
      try refuse("--score \(first.record.score.rawValue) and \(other.record.score.rawValue)")
    }
  }

  /// Writes the page and the charts.
  /// - Parameters:
  ///   - page: the path of the page.
  ///   - charts: the folder of the charts, or nil for none.
  /// - Throws: ``FormatError`` where something cannot be written.
  public func write(page: String, charts folder: String?) throws {
    if let folder {
      try Folder.make(folder)
      for chart in charts { try AtomicFile.write(chart.svg, to: "\(folder)/\(chart.name).svg") }
    }
    try AtomicFile.write(html, to: page)
  }
}

extension ComparisonRecord {
  /// What runs of one experiment may differ in.
  public static let gridOptions = Set(gridLists + ["seed", "seeds", "diagnose"])

  /// The options whose values separated by commas span a grid.
  public static let gridLists = ["norms", "attention", "optimizers", "batch-size", "learning-rate"]

  /// The options of several runs taken together.
  public static func configuration(of records: [ComparisonRecord], seeds: [UInt64]) -> [String: String] {
    var all = records[0].configuration
    for name in gridLists where all[name] != nil {
      all[name] = unique(
        records.flatMap { ($0.configuration[name] ?? "").split(separator: ",").map(String.init) }
      ).joined(separator: ",")
    }
    let sorted = Set(seeds).sorted()
    all["seeds"] = "\(sorted.count)"
    if let lowest = sorted.first { all["seed"] = "\(lowest)" }
    if records.contains(where: { $0.configuration["diagnose"] == "true" }) { all["diagnose"] = "true" }
    return all
  }

  /// The other options that two runs differ in, by name; nil for one that was not given.
  /// - Parameter free: those that may differ.
  public func differentOptions(
    from other: ComparisonRecord, besides free: Set<String> = gridOptions
  ) -> [(name: String, here: String?, there: String?)] {
    Set(configuration.keys).union(other.configuration.keys).subtracting(free)
      .filter { configuration[$0] != other.configuration[$0] }.sorted()
      .map { ($0, configuration[$0], other.configuration[$0]) }
  }

  /// Every option of the run by its name on the command line of `norma compare`, the data and norms first.
  public var options: [(name: String, value: String)] {
    var options = configuration
    options["score"] = score.rawValue
    for name in ["batch-size", "learning-rate"] where options[name]?.contains(",") == true {
      options[name + "s"] = options[name]
      options[name] = nil
    }
    if options["images"] != nil { options = options.filter { !$0.key.hasPrefix("synthetic-") } }
    let first = ["images", "labels", "norms", "seeds"]
    let names = first.filter { options[$0] != nil } + options.keys.filter { !first.contains($0) }.sorted()
    return names.compactMap { name in options[name].map { (name, $0) } }
  }

  /// The command that runs this comparison, for a POSIX shell: its name, then every option with its value.
  var commandParts: [String] {
    ["norma compare"]
      + options.compactMap { name, value in
        if value == "true" || value == "false" { return value == "true" ? "--\(name)" : nil }
        return "--\(name) \(shellWord(value))"
      }
  }
}

/// A word for a POSIX shell.
public func shellWord(_ word: String) -> String {
  let isPlain = word.utf8.allSatisfy { byte in
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: "+-_./:=,@%".utf8.contains(byte)
    }
  }
  return isPlain && !word.isEmpty ? word : "'" + word.replacing("'", with: "'\\''") + "'"
}

extension DataRecord {
  var extent: String { "\(width)×\(height), \(channels) \(channels == 1 ? "channel" : "channels")" }

  var summary: String {
    "\(name), \(trainingSamples) + \(validationSamples) + \(testSamples) \(unit) of \(extent)"
      + (classes > 0 ? ", \(classes) classes" : "")
  }
}

/// Overlays of the first seed of every norm, as far as a folder has them.
struct Pictures: Sendable {
  struct Slice: Sendable {
    let number: Int
    /// PNG, by norm.
    let overlays: [(norm: String, png: [UInt8])]
    /// How many of the norms were wrong at every pixel: PNG, white for none and the darker the more; nil for one norm and for
    /// pictures that are no predictions.
    let errors: [UInt8]?
  }

  /// At the smallest batch size; at most two.
  let slices: [Slice]
  static let count = 2

  init(of record: ComparisonRecord, folder: (RunRecord) -> String?) {
    guard let analysis = record.analysis.min(by: { $0.batchSize < $1.batchSize }) else {
      slices = []
      return
    }
    var found: [Int: [(norm: String, path: String)]] = [:]
    // Those of pictures that a network makes are no right or wrong.
    let hasErrors = record.data.unit == "slices"
    for contender in analysis.contenders {
      guard let run = record.runs(of: contender, batchSize: analysis.batchSize).first, let folder = folder(run) else {
        continue
      }
      let prefix = "\(run.fileStem)-\(record.data.unit.dropLast())-"
      for name in (try? FileManager.default.contentsOfDirectory(atPath: "\(folder)/overlays")) ?? [] {
        guard name.hasPrefix(prefix), name.hasSuffix(".png"), let slice = Int(name.dropFirst(prefix.count).dropLast(4))
        else { continue }
        found[slice, default: []].append((contender.norm, "\(folder)/overlays/\(name)"))
      }
    }
    slices = found.keys.sorted().prefix(Self.count).compactMap { number in
      let overlays = found[number]!.compactMap { norm, path in
        FileManager.default.contents(atPath: path).map { (norm: norm, png: [UInt8]($0), path: path) }
      }
      let errors = hasErrors && overlays.count > 1 ? Self.errors(overlays.map(\.path)) : nil
      return overlays.isEmpty
        ? nil : Slice(number: number, overlays: overlays.map { ($0.norm, $0.png) }, errors: errors)
    }
  }

  /// nil where a file is no overlay of the same size.
  private static func errors(_ paths: [String]) -> [UInt8]? {
    var counts: [Float] = []
    var extent = (height: 0, width: 0)
    for path in paths {
      guard let image = try? PNG.read(path), image.channels == 3 else { return nil }
      let area = image.height * image.width
      if counts.isEmpty {
        counts = [Float](repeating: 0, count: area)
        extent = (image.height, image.width)
      }
      guard extent == (image.height, image.width) else { return nil }
      // Overlays are grey but for errors.
      image.values.withUnsafeBufferPointer { values in
        for pixel in 0..<area where values[pixel] != values[area + pixel] || values[pixel] != values[2 * area + pixel] {
          counts[pixel] += 1
        }
      }
    }
    let most = Float(paths.count)
    let stack = try? ImageStack(
      pages: 1, channels: 1, height: extent.height, width: extent.width, format: .uint8,
      values: counts.map { (255 * (1 - $0 / most)).rounded() })
    return stack.flatMap { try? PNG.encode($0, for: "error map") }
  }
}

extension ComparisonRecord {
  /// What ``DataRecord/constantScores`` are of.
  var baseline: String {
    configuration["model"] == "style" ? "leaving the pictures as they are" : "a constant prediction"
  }

  /// The finished runs that a contender stands for, by seed.
  func runs(of contender: ContenderRecord, batchSize: Int) -> [RunRecord] {
    runs.filter {
      $0.isFinished && $0.norm == contender.norm && $0.cell.batchSize == batchSize
        && $0.cell.learningRate == contender.learningRate
    }.sorted { $0.cell.seed < $1.cell.seed }
  }
}
