#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

import ArgumentParser
import NormaFormats
import NormaNormalization
import NormaReport
import NormaTensor

struct ExplainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain",
    abstract: "Draw which values share statistics under a normalization, and tell what it costs.",
    discussion: """
      An activation [N, C, H, W] is a shelf of N books with C pages each, and H lines of W characters on a page. Values \
      with the same letter or colour share one statistic; one such set is drawn full.
      """)

  @Argument(
    help: ArgumentHelp("A normalization with its options, such as group:8, or all.", valueName: "norm"),
    completion: NormHelp.names)
  var norm = "all"

  @Option(
    help: ArgumentHelp("N, C, H and W of the activation. (default: 2x4x3x3)", valueName: "NxCxHxW"),
    transform: { try BenchShape(parsing: $0) })
  var shape: BenchShape?

  @Option(
    help: ArgumentHelp(
      "Also draw it as SVG: into this file or folder; with all a folder, which gets NORM.svg of each and all.svg.",
      valueName: "path"))
  var svg: String?

  func validate() throws {
    if svg?.isEmpty == true { throw ValidationError("--svg must name a file or folder, got an empty text.") }
    if let shape, shape.extents[0] * shape.channels > 1 << 20 {
      throw ValidationError("'\(shape)' has more than 2²⁰ pages; choose fewer samples or channels.")
    }
    if norm != "all" { try Self.check(norm) }
  }

  /// - Throws: `ValidationError` unless the name is that of a normalization that can be drawn.
  private static func check(_ name: String) throws {
    let kind: String
    do { kind = try Normalization(parsing: name).kind } catch { throw ValidationError("\(error)") }
    guard kind != "none" else {
      throw ValidationError(
        "'none' normalizes nothing; the others are all, \(NormalizationKind.all.map(\.name).joined(separator: ", "))")
    }
  }

  func run() throws {
    try Runtime.check()
    let given = try shape ?? BenchShape(parsing: "2x4x3x3")
    let colours = isatty(1) == 1 && getenv("NO_COLOR") == nil
    if norm == "all" {
      let all = try Self.shownNames(channels: given.channels).map { try NormExplanation($0, shape: given) }
      if let svg {
        try Folder.make(svg)
        for item in all {
          try AtomicFile.write(SharingFigure.svg(of: item.member), to: "\(svg)/\(item.kind.name).svg")
        }
        try AtomicFile.write(SharingFigure.overview(of: all.map(\.member)), to: "\(svg)/all.svg")
      }
      print(try overview(of: all, colours: colours))
    } else {
      let item = try NormExplanation(norm, shape: given)
      if let svg { try AtomicFile.write(SharingFigure.svg(of: item.member), to: try file(svg)) }
      print(item.text(colours: colours))
    }
  }

  /// Every member by a name that shows what is special about it: by default as many groups as channels would be made of few
  /// channels.
  private static func shownNames(channels: Int) -> [String] {
    let groups = [2, 3].first { channels % $0 == 0 && channels > $0 && channels <= 32 }
    return NormalizationKind.all.map { kind in
      guard let groups else { return kind.name }
      return ["group": "group:\(groups)", "evo-s0": "evo-s0:\(groups)"][kind.name] ?? kind.name
    }
  }

  /// The given path, or a file of the norm's name in the folder that it is.
  private func file(_ path: String) throws -> String {
    var status = stat()
    let exists = stat(path, &status) == 0
    guard path.hasSuffix("/") || (exists && status.st_mode & S_IFMT == S_IFDIR) else {
      guard !exists || path.hasSuffix(".svg") else {
        throw ToolError("'\(path)' is there already and no .svg file; nothing is replaced, choose another --svg")
      }
      return path
    }
    try Folder.make(path)
    return "\(path.hasSuffix("/") ? String(path.dropLast()) : path)/\(fileName(norm)).svg"
  }

  private func overview(of items: [NormExplanation], colours: Bool) throws -> String {
    let drawings = items.map { item in
      let panels = item.compactPanels.map { panel in
        "\(panel.title): over \(panel.axes)\n" + indented(SharingText.drawing(of: panel, colours: colours), 4)
      }
      return "\(item.normalization.name): \(item.kind.summary)\n"
        + panels.map { indented($0, 2) }.joined(separator: "\n")
    }
    let rows = items.map { [$0.normalization.name, $0.counts, grouped($0.parameters), $0.passes.short] }
    return """
      Which values share statistics in \(items[0].shape): one letter per set, █ the set that is pointed out.
      A page of H×W values is drawn as one letter where all of them are in the same set.

      \(drawings.joined(separator: "\n\n"))

      \(textTable(header: ["norm", "statistics × values", "parameters", "passes forward + backward"], rows: rows))

      `norma explain NORM` tells more about one.
      """
  }
}

/// Text with every line moved to the right.
private func indented(_ text: String, _ count: Int) -> String {
  text.split(separator: "\n", omittingEmptySubsequences: false)
    .map { $0.isEmpty ? "" : String(repeating: " ", count: count) + $0 }.joined(separator: "\n")
}

/// What there is to tell about one normalization for one shape.
struct NormExplanation {
  let normalization: Normalization
  let kind: NormalizationKind
  let shape: BenchShape
  /// Trained numbers of the layer.
  let parameters: Int
  let passes: Passes
  private let scopes: [Scope]
  private let buffers: [String]

  /// What statistics are taken over.
  private enum Scope {
    /// Planes that a partition puts together.
    case pooled(Partition, what: String)
    /// All channels at one position.
    case vector
    /// Neighbouring channels at one position.
    case window(Int)
  }

  /// How often the input's bytes T pass through memory.
  struct Passes {
    let short: String
    let reason: String
    var isCounted = true
  }

  /// - Throws: ``NormalizationError`` for an unknown name or options that do not fit the shape.
  init(_ name: String, shape: BenchShape) throws {
    let normalization = try Normalization(parsing: name)
    guard let kind = NormalizationKind.all.first(where: { $0.name == normalization.kind }),
      let layer = try normalization.layer(channels: shape.channels)
    else { throw ToolError("'\(name)' normalizes nothing, so there is nothing to explain") }
    self.normalization = normalization
    self.kind = kind
    self.shape = shape
    parameters = layer.trainableCount
    buffers = layer.namedBuffers().map { key, buffer in
      buffer.value.shape.isEmpty ? key : "\(key) [\(buffer.value.shape.map(String.init).joined(separator: ", "))]"
    }
    let what = kind.statistics.first?.what ?? ""
    // The layer knows what its options came to.
    switch layer {
    case let layer as NormalizationLayer: scopes = try layer.partitions.map { .pooled($0, what: what) }
    case let layer as EvoNorm: scopes = layer.partitions.map { .pooled($0, what: what) }
    case let layer as LocalResponseNorm: scopes = [.window(layer.size)]
    case is UnitNorm: scopes = [.vector]
    default: scopes = []
    }
    let partitions = scopes.compactMap { if case .pooled(let partition, _) = $0 { partition } else { nil } }
    let isFused = layer is NormalizationLayer
    passes =
      isFused ? Self.passes(partitions, shape, thresholds: (layer as? FilterResponseNorm)?.tau != nil) : .composed
  }

  // MARK: - Panels

  /// For the drawing of its own.
  var panels: [SharingPanel] { scopes.map { panel($0, height: shape.extents[2], width: shape.extents[3]) } }

  /// Every plane as one character, or as few as show that positions differ.
  var compactPanels: [SharingPanel] {
    scopes.map { scope in
      if case .pooled = scope { return panel(scope, height: 1, width: 1) }
      return panel(scope, height: 1, width: min(3, shape.extents[2] * shape.extents[3]))
    }
  }

  var member: SharingFigure.Member {
    .init(
      name: normalization.name, title: kind.title, summary: kind.summary, formula: kind.formula, panels: panels)
  }

  private func panel(_ scope: Scope, height: Int, width: Int) -> SharingPanel {
    let (samples, channels) = (shape.extents[0], shape.channels)
    let counts = counts(scope)
    let sentence =
      "\(words(scope)): \(plural(counts.statistics, "statistic")) over "
      + (counts.isEven ? "\(plural(counts.values, "value")) each." : "at most \(plural(counts.values, "value")).")
    func make(_ title: String, _ axes: String, _ sets: [Int?], position: Bool = false, one: Bool = false)
      -> SharingPanel
    {
      SharingPanel(
        title: title, axes: axes, caption: sentence, samples: samples, channels: channels, height: height, width: width,
        sets: sets, isPerPosition: position, showsOneSet: one)
    }
    switch scope {
    case .pooled(let partition, _):
      return make(partition.name, axes(partition), partition.sets(samples: samples, channels: channels))
    case .vector:
      return make(
        "unit", "C", (0..<samples * channels).map { $0 / channels }, position: true)
    case .window(let size):
      // The first channel whose window is whole, if there is one.
      let center = min(channels - 1, size / 2)
      let window = max(0, center - size / 2)...min(channels - 1, center + (size - 1) / 2)
      return make(
        "lrn", "up to \(size) channels",
        (0..<samples * channels).map { $0 < channels && window.contains($0) ? 0 : nil }, position: true, one: true)
    }
  }

  private func axes(_ partition: Partition) -> String {
    switch partition {
    case .instance: "H, W"
    case .batch: "N, H, W"
    case .synchronized: "N of all workers, H, W"
    case .ghost(let samples): "\(plural(min(samples, shape.extents[0]), "sample")), H, W"
    case .layer: "C, H, W"
    case .group(let groups): "\(plural(shape.channels / groups, "channel")), H, W"
    }
  }

  /// In the picture's words.
  private func words(_ scope: Scope) -> String {
    switch scope {
    case .pooled(let partition, let what):
      let taken = what.prefix(1).uppercased() + what.dropFirst() + " of "
      switch partition {
      case .instance: return taken + "every page by itself"
      case .batch: return taken + "the pages of one number in all books"
      case .synchronized: return taken + "the pages of one number in all books of all workers"
      case .ghost(let samples): return taken + "the pages of one number in up to \(plural(samples, "book"))"
      case .layer: return taken + "all pages of one book"
      case .group(let groups):
        let pages = shape.channels / groups
        return taken
          + (pages == 1
            ? "every page by itself, since there are as many groups as channels (group:G makes fewer)"
            : "\(pages) neighbouring pages of one book")
      }
    case .vector: return "Length of the characters at one place on all pages of one book"
    case .window(let size):
      return "Energy of the characters at one place on \(size) neighbouring pages of one book"
    }
  }

  /// How many statistics there are, and over how many values the largest is taken.
  private func counts(_ scope: Scope) -> (statistics: Int, values: Int, isEven: Bool) {
    let (samples, channels) = (shape.extents[0], shape.channels)
    let positions = shape.extents[2] * shape.extents[3]
    switch scope {
    case .pooled(let partition, _):
      let sets = partition.sets(samples: samples, channels: channels)
      let sizes = Dictionary(sets.map { ($0, 1) }, uniquingKeysWith: +)
      return (sizes.count, (sizes.values.max() ?? 0) * positions, Set(sizes.values).count == 1)
    case .vector: return (samples * positions, channels, true)
    case .window(let size): return (samples * channels * positions, min(size, channels), min(size, channels) == 1)
    }
  }

  /// Of all statistics, for a table.
  var counts: String {
    scopes.map { "\(grouped(counts($0).statistics)) × \(grouped(counts($0).values))" }.joined(separator: ", ")
  }

  // MARK: - Cost

  private static func passes(_ partitions: [Partition], _ shape: BenchShape, thresholds: Bool) -> Passes {
    let blocks = PartitionBlocks(
      partitions, samples: shape.extents[0], channels: shape.channels, positions: shape.extents[2] * shape.extents[3])
    let cache = ProcessorCache.perCore
    let bytesPerPart = blocks.values * 4
    let enough = blocks.areEnough
    let forward = enough && blocks.stayInCache(bytesPerValue: 4)
    let backward = enough && blocks.stayInCache(bytesPerValue: 8)
    let more = thresholds ? " and the threshold's own" : ""
    let sizes = "The values that share statistics come to \(size(bytesPerPart)) in float32"
    let reason =
      switch (forward, backward) {
      case (true, true):
        "\(sizes), which stay in a core's cache (taken as \(size(cache))) between the statistics and their use: x is read once, backward "
          + "x and the gradient once."
      case (true, false):
        "\(sizes): x alone stays in a core's cache (taken as \(size(cache))) and is read once, x and the gradient together do not."
      case (false, _):
        enough
          ? "\(sizes), more than a core's cache (taken as \(size(cache))) keeps: x is read for the statistics and again to apply them, and "
            + "backward so are x and the gradient."
          : "Only \(plural(blocks.count, "such set")) for \(plural(Runtime.threads, "thread")), too few to give each thread "
            + "its own: x is read for the statistics and again to apply them, and backward so are x and the gradient."
      }
    return Passes(short: "\(forward ? 2 : 3)T + \(backward ? 3 : 5)T\(more)", reason: reason)
  }

  private static func size(_ bytes: Int) -> String {
    bytes < 1024
      ? "\(bytes) bytes" : bytes < 1 << 20 ? "\(fixed(Double(bytes) / 1024, 0)) KiB" : NormaReport.bytes(bytes)
  }

  // MARK: - Text

  func text(colours: Bool) -> String {
    let drawings = panels.map { panel in
      "\(panel.title): over \(panel.axes)\n\(wrapped(panel.caption, 88).joined(separator: "\n"))\n\n"
        + indented(SharingText.drawing(of: panel, colours: colours), 2)
    }
    func entry(_ name: String, _ text: String) -> String {
      let lines = wrapped(text, 78)
      return lines.enumerated().map { index, line in
        (index == 0 ? name + String(repeating: " ", count: max(1, 14 - name.count)) : String(repeating: " ", count: 14))
          + line
      }.joined(separator: "\n")
    }
    let bytesOfInput = shape.count * 4
    // What follows tells of the member without options.
    let given = normalization.name.split(separator: ":").dropFirst().map { word in
      let key = word.prefix { $0 != "=" }
      let option =
        kind.options.first { $0.form.prefix { $0 != "=" } == key }
        ?? kind.options.first { !$0.form.contains("=") && $0.form.first!.isUppercase }
      return "\(word): \(option?.help ?? "an option of \(kind.name)")"
    }
    let options = kind.options.map { "\(kind.name):\($0.form) – \($0.help)" }
    return """
      \(kind.title) (\(normalization.name)), input \(shape) = N×C×H×W

      \(drawings.joined(separator: "\n\n"))

      \(entry("in short", kind.summary))\(given.map { "\n" + entry("here", $0) }.joined())
      \(entry("formula", kind.formula))
      \(entry("parameters", parameters == 0 ? "none" : "\(grouped(parameters)) for \(plural(shape.channels, "channel"))"
        + (parameters == kind.parameterCount(shape.channels) ? " (\(kind.parameters))" : ", by its options")))
      \(entry("passes", passes.isCounted
        ? "forward + backward \(passes.short), T = \(Self.size(bytesOfInput)), the input in float32, channels first. \(passes.reason)"
        : "\(passes.short). \(passes.reason)"))
      \(entry("state", buffers.isEmpty ? "none; training and evaluation are alike"
        : buffers.joined(separator: ", ") + "; set in training, used in evaluation"))
      \(entry("use when", kind.useWhen))
      \(entry("weakness", kind.weakness))
      \(entry("source", kind.source))\(options.isEmpty ? "" : "\n" + options.enumerated().map {
        entry($0 == 0 ? "options" : "", $1) }.joined(separator: "\n"))
      """
  }
}

extension NormExplanation.Passes {
  /// For layers made of several operators.
  static let composed = Self(
    short: "not counted",
    reason: "The layer is composed of several operators, each of which reads and writes the whole activation.",
    isCounted: false)
}

private func plural(_ count: Int, _ noun: String) -> String { "\(grouped(count)) \(noun)\(count == 1 ? "" : "s")" }

extension Partition {
  /// The number of the set that every cell (n, c) of the table of moments belongs to, all cells of a sample together.
  func sets(samples: Int, channels: Int) -> [Int] {
    (0..<samples).flatMap { n in
      (0..<channels).map { c in
        switch self {
        case .instance: n * channels + c
        case .batch, .synchronized: c
        case .ghost(let size): n / size * channels + c
        case .layer: n
        case .group(let groups): n * groups + c / (channels / groups)
        }
      }
    }
  }
}
