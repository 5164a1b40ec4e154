import CTIFF

/// What a TIFF file says about its pixels besides their values: their size, and ImageJ's words about the stack.
public struct TIFFDescription: Sendable, Equatable {
  /// Pixels per unit; nil where the file does not tell.
  public var xResolution: Float?
  public var yResolution: Float?
  /// The unit as TIFF numbers it: 1 none, 2 inch, 3 centimetre.
  public var resolutionUnit: Int?
  /// Lines `name=value` of an ImageJ description that hold for every image made pixel by pixel from the pages: unit, spacing, time
  /// and the order of slices and frames; not channels, shown range or calibration of values.
  public var imageJLines: [String] = []

  /// Nothing known.
  public init() {}

  private static let kept: Set<String> = [
    "slices", "frames", "hyperstack", "unit", "yunit", "zunit", "spacing", "xorigin", "yorigin", "zorigin", "finterval",
    "tunit", "fps", "loop",
  ]

  /// Of the selected directory.
  init(_ handle: TIFFHandle) {
    xResolution = handle.float(TIFFTAG_XRESOLUTION)
    yResolution = handle.float(TIFFTAG_YRESOLUTION)
    if xResolution != nil || yResolution != nil { resolutionUnit = handle.u16(TIFFTAG_RESOLUTIONUNIT) }
    guard let text = handle.string(TIFFTAG_IMAGEDESCRIPTION), text.hasPrefix("ImageJ=") else { return }
    imageJLines = text.split(whereSeparator: \.isNewline).map(String.init).filter { line in
      line.contains("=") && Self.kept.contains(String(line.prefix { $0 != "=" }))
    }
  }

  static func value<Line: StringProtocol>(_ name: String, in lines: [Line]) -> String? {
    lines.first { $0.hasPrefix(name + "=") }.map { String($0.dropFirst(name.count + 1)) }
  }

  /// The description of the first page, which tells ImageJ about the stack.
  func imageJText(pages: Int) -> String {
    var lines = imageJLines
    func count(_ name: String) -> Int { Self.value(name, in: lines).flatMap { Int($0) } ?? 1 }
    let declared = product(count("slices"), count("frames"))
    // Slices and frames of a file with several channels are fewer than its pages.
    if declared != pages {
      lines.removeAll { line in ["slices=", "frames=", "hyperstack="].contains { line.hasPrefix($0) } }
      if pages > 1 { lines.insert("slices=\(pages)", at: 0) }
    }
    if pages > 1 {
      lines.insert("images=\(pages)", at: 0)
      if Self.value("loop", in: lines) == nil { lines.append("loop=false") }
    }
    return (["ImageJ=1.11a"] + lines).joined(separator: "\n") + "\n"
  }

  func write(to handle: TIFFHandle) throws(TIFFFailure) {
    if let xResolution { try handle.set(TIFFTAG_XRESOLUTION, float: xResolution) }
    if let yResolution { try handle.set(TIFFTAG_YRESOLUTION, float: yResolution) }
    if let resolutionUnit { try handle.set(TIFFTAG_RESOLUTIONUNIT, u16: resolutionUnit) }
  }
}
